//! From where it is known what Exim verifies of the client, and what is not known: what was given comes
//! first, then what Exim asks by itself, then what the records have.

use super::as_client::{self, Heard};
use crate::command::{Failure, Result};
use crate::output::word;
use eximgrey::identity::Domain;
use eximgrey::reply::By;
use eximgrey::request::{Misuse, Request};
use eximgrey::store::Store;
use eximgrey::triplet::Triplet;
use serde_json::{Value, json};

pub struct Sources<'a> {
    /// The options that were given.
    options: &'a [&'a [u8]],
    heard: Heard,
}

/// What there is to say of it, behind the answer.
pub struct Told {
    /// Whether Exim asks the library, where it was heard.
    asks: Option<bool>,
    /// What Exim answers the client.
    answer: Option<String>,
    not_known: Option<String>,
}

/// What Exim verifies before it asks at RCPT, as options.
const VERIFIED: [&str; 2] = ["spf=DOMAIN", "host=NAME"];

impl<'a> Sources<'a> {
    /// Has Exim asked about the mail of `request`, unless all is given, or it is said which configuration
    /// file is meant, which need not be that of Exim.
    pub fn of(request: &Request<'_>, options: &'a [&'a [u8]], file_is_named: bool) -> Self {
        let mut sources = Self { options, heard: Heard::Nothing(String::new()) };
        if let Some(client) = request.client.filter(|_| sources.missing().next().is_some()) {
            sources.heard = match file_is_named {
                true => Heard::Nothing("Exim is not asked where a configuration file is named".into()),
                false => as_client::deliver(client, request),
            };
        }
        sources
    }

    /// The arguments of the call that is explained: those of Exim's call, if there is one, but for what was
    /// `given`.
    pub fn arguments<'b>(&'b self, given: &[&'b [u8]]) -> Vec<&'b [u8]>
    where
        'a: 'b,
    {
        let Heard::Question { arguments, .. } = &self.heard else { return given.to_vec() };
        let arguments = arguments.iter().map(Vec::as_slice).enumerate();
        let kept = arguments.filter(|(at, argument)| *at < 3 || !self.is_given(name(argument)));
        kept.map(|(_, argument)| argument).chain(self.options.iter().copied()).collect()
    }

    /// Takes for verified what was verified when this mail, from the client's network, was recorded; where
    /// Exim was not heard. Yields it as options.
    pub fn take_seen(
        &self,
        request: &mut Request<'_>,
        triplet: &Triplet<'_>,
        store: &Store,
    ) -> Result<Vec<String>> {
        let mut seen = Vec::new();
        if matches!(self.heard, Heard::Question { .. }) {
            return Ok(seen);
        }
        for record in store.seen_with_network(triplet)? {
            let place = match record.by {
                By::Spf => &mut request.spf,
                By::Host => &mut request.host,
                _ => continue,
            };
            if place.is_none() && !self.is_given(record.by.word().as_bytes()) {
                *place = Domain::parse(&record.texts.identity);
                let domain = word(&record.texts.identity);
                seen.extend(place.is_some().then(|| format!("{}={domain}", record.by)));
            }
        }
        Ok(seen)
    }

    fn is_given(&self, wanted: &[u8]) -> bool {
        self.options.iter().any(|option| name(option) == wanted)
    }

    /// What Exim verifies, and was not given.
    fn missing(&self) -> impl Iterator<Item = &'static str> {
        VERIFIED.into_iter().filter(|option| !self.is_given(name(option.as_bytes())))
    }

    /// What is to be said where the records have `seen` these options.
    pub fn told(&self, seen: &[String]) -> Told {
        let (asks, answer, why) = match &self.heard {
            Heard::Question { arguments, answer } => {
                let unknown = self.of_message(arguments);
                return Told { asks: Some(true), answer: Some(answer.clone()), not_known: unknown };
            }
            Heard::Answer(answer) => (Some(false), Some(answer.clone()), "Exim does not ask"),
            Heard::Nothing(why) => (None, None, why.as_str()),
        };
        let missing: Vec<_> = self.missing().collect();
        let not_known = if why.is_empty() || missing.is_empty() {
            None
        } else if seen.is_empty() {
            Some(format!(
                "what Exim verifies of the client ({why}): give {} where it does",
                missing.join(" and ")
            ))
        } else {
            let seen = seen.join(" and ");
            Some(format!("what Exim verifies of the client now ({why}); recorded with this mail: {seen}"))
        };
        Told { asks, answer, not_known }
    }

    /// What of Exim's question depends on the message, which we have not.
    fn of_message(&self, arguments: &[Vec<u8>]) -> Option<String> {
        let asked = |wanted: &&str| arguments.iter().skip(3).any(|option| name(option) == wanted.as_bytes());
        let unknown: Vec<_> = ["dkim", "match"]
            .into_iter()
            .filter(asked)
            .filter(|name| !self.is_given(name.as_bytes()))
            .collect();
        (!unknown.is_empty()).then(|| format!("what depends on the message: {}", unknown.join(", ")))
    }
}

impl Told {
    /// The last lines.
    /// Titles and texts.
    pub fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let asks = if self.asks == Some(true) { "asks so" } else { "asks nothing about this mail" };
        let answer =
            self.answer.as_ref().map(|answer| ("exim", format!("{asks} (exim -bh), and answers {answer}")));
        let not_known = self.not_known.as_ref().map(|text| ("not known", text.to_string()));
        [answer, not_known].into_iter().flatten()
    }

    pub fn add_to(&self, value: &mut Value) {
        if let Some(object) = value.as_object_mut() {
            object.insert("exim".into(), json!({"asks": self.asks, "answer": self.answer}));
            object.insert("not_known".into(), json!(self.not_known));
        }
    }
}

/// What comes before the `=` of an option.
fn name(option: &[u8]) -> &[u8] {
    option.split(|&byte| byte == b'=').next().unwrap_or_default()
}

/// Exim gives a domain that it has verified, or nothing; another value is a slip, such as spf=pass.
pub fn are_domains(request: &Request<'_>, options: &[&[u8]]) -> Result<()> {
    for (option, read, expected) in [
        ("spf", &request.spf, "the domain that SPF passed for, such as spf=sender.example"),
        ("dkim", &request.dkim, "the domain that signed, such as dkim=sender.example"),
        ("host", &request.host, "the verified name of the client, such as host=mx.sender.example"),
    ] {
        let given =
            options.iter().find(|given| name(given) == option.as_bytes() && given.len() > option.len() + 1);
        if let (Some(given), None) = (given, read) {
            return Err(Failure::Usage(Misuse::found(given, expected).text));
        }
    }
    Ok(())
}
