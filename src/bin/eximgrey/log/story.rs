//! What became of the mail of one client and sender to one recipient, in words.

use crate::exim_log::{Mail, Sent};
use crate::output::{sender, span, word};
use eximgrey::settings::Settings;
use eximgrey::time::{Seconds, Timestamp};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::IpAddr;

pub struct Story {
    /// The last that was seen.
    client: Option<IpAddr>,
    /// The client may have written that itself.
    unclear: bool,
    host: Option<Vec<u8>>,
    sender: Vec<u8>,
    recipient: Vec<u8>,
    /// How many were found before: what the log has in one second stays in its order.
    pub place: usize,
    /// In order of time.
    pub events: Vec<Event>,
}

pub struct Event {
    pub time: Timestamp,
    pub client: Option<IpAddr>,
    pub id: Option<Vec<u8>>,
    pub what: Happened,
}

pub enum Happened {
    /// By us: our answer.
    Greylisted(Vec<u8>),
    GreylistedByOther(Vec<u8>),
    Refused {
        for_now: bool,
        why: Vec<u8>,
    },
    /// Our answer.
    Passed(Vec<u8>),
    Accepted,
    Sent(Sent, Vec<u8>),
}

/// How it ended, as far as the log goes.
enum Outcome {
    Delivered,
    Bounced,
    Refused,
    Accepted,
    /// It may come back until then.
    Waiting {
        from: Timestamp,
        until: Timestamp,
    },
    NeverCameBack {
        last: Timestamp,
        until: Timestamp,
    },
}

/// A number or a word of an answer of ours: `wait=300`.
fn value<'a>(answer: &'a [u8], key: &str) -> Option<&'a str> {
    let mut words = str::from_utf8(answer).ok()?.split(' ');
    words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn seconds(answer: &[u8], key: &str) -> Option<Seconds> {
    value(answer, key)?.parse().ok().map(Seconds)
}

impl Event {
    /// Whether the mail had to wait.
    const fn waits(&self) -> bool {
        matches!(self.what, Happened::Greylisted(_) | Happened::GreylistedByOther(_))
    }

    /// What JSON calls it.
    const fn word(&self) -> &'static str {
        match &self.what {
            Happened::Greylisted(_) => "greylisted",
            Happened::GreylistedByOther(_) => "greylisted-by-other",
            Happened::Refused { for_now: true, .. } => "refused-for-now",
            Happened::Refused { .. } => "refused",
            Happened::Passed(_) => "passed",
            Happened::Accepted => "accepted",
            Happened::Sent(how, _) => how.word(),
        }
    }

    fn text(&self) -> &[u8] {
        match &self.what {
            Happened::Greylisted(text) | Happened::GreylistedByOther(text) | Happened::Passed(text) => text,
            Happened::Refused { why, .. } | Happened::Sent(_, why) => why,
            Happened::Accepted => b"",
        }
    }

    fn explained(&self) -> String {
        let because = |text: &[u8]| match text {
            [] => String::new(),
            text => format!(": {}", printable(text)),
        };
        match &self.what {
            Happened::Greylisted(answer) => {
                let wait = seconds(answer, "wait").unwrap_or_default();
                let from = self.time.plus(wait);
                match value(answer, "reason") {
                    Some("new") => format!("first attempt, deferred: may pass from {from} on"),
                    Some("early") => format!("came back too early, deferred: {} still to wait", span(wait)),
                    Some("trapped") => format!("deferred: the client's network is trapped until {from}"),
                    _ => format!("deferred{}", because(answer)),
                }
            }
            Happened::GreylistedByOther(why) => format!("deferred by another greylister{}", because(why)),
            Happened::Refused { for_now: true, why } => format!("refused for now{}", because(why)),
            Happened::Refused { why, .. } => format!("refused{}", because(why)),
            Happened::Passed(answer) if value(answer, "would") == Some("defer") => {
                "passed; it would have had to wait if greylisting were not only watching".into()
            }
            Happened::Passed(answer) => match (value(answer, "reason"), seconds(answer, "delay")) {
                (Some("retried"), Some(delay)) => format!("came back, passed after waiting {}", span(delay)),
                (Some("error"), _) => {
                    let error = value(answer, "error").unwrap_or("error");
                    format!("passed without greylisting: {error}")
                }
                _ => format!("passed{}", because(answer)),
            },
            Happened::Accepted => "accepted".into(),
            Happened::Sent(Sent::Delivered, _) => "delivered".into(),
            Happened::Sent(Sent::Deferred, why) => format!("delivery put off{}", because(why)),
            Happened::Sent(Sent::Failed, why) => format!("bounced{}", because(why)),
        }
    }
}

fn printable(text: &[u8]) -> String {
    let words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    words.map(|part| word(part).to_string()).collect::<Vec<_>>().join(" ")
}

impl Story {
    pub fn new(mail: &Mail<'_>, recipient: &[u8], place: usize) -> Self {
        let host = mail.host.map(<[u8]>::to_vec);
        let (sender, recipient) = (mail.sender.to_vec(), recipient.to_vec());
        Self {
            client: mail.client,
            unclear: mail.unclear,
            host,
            sender,
            recipient,
            place,
            events: Vec::new(),
        }
    }

    pub fn client(&mut self, mail: &Mail<'_>) {
        (self.client, self.unclear) = (mail.client, mail.unclear);
        // Our own lines have no name.
        self.host = mail.host.map(<[u8]>::to_vec).or_else(|| self.host.take());
    }

    fn outcome(&self, settings: &Settings, now: Timestamp) -> Outcome {
        let last = |test: fn(&Event) -> bool| self.events.iter().rposition(test);
        let waited = last(Event::waits);
        let went_on = last(|event| matches!(event.what, Happened::Accepted | Happened::Passed(_)));
        if let Some(waited) = waited.filter(|waited| went_on.is_none_or(|went_on| went_on < *waited)) {
            return self.waiting(waited, settings, now);
        }
        let ended = self.events.iter().rev().find_map(|event| match event.what {
            Happened::Sent(Sent::Delivered, _) => Some(Outcome::Delivered),
            Happened::Sent(Sent::Failed, _) => Some(Outcome::Bounced),
            Happened::Accepted | Happened::Passed(_) => Some(Outcome::Accepted),
            Happened::Refused { .. } => Some(Outcome::Refused),
            _ => None,
        });
        ended.unwrap_or(Outcome::Accepted)
    }

    /// It was deferred at last, and has not come back since.
    fn waiting(&self, last: usize, settings: &Settings, now: Timestamp) -> Outcome {
        let rules = settings.rules_for(None, &self.recipient, &Default::default()).unwrap_or(settings.rules);
        let since_pass = self
            .events
            .iter()
            .take(last + 1)
            .rev()
            .take_while(|event| !matches!(event.what, Happened::Accepted | Happened::Passed(_)));
        let waits: Vec<_> = since_pass.filter(|event| event.waits()).collect();
        let time = |event: Option<&&Event>| event.map_or(now, |event| event.time);
        let last = waits.first();
        // The last first attempt counts: one whose window has ended has begun anew.
        let is_first = |event: &&&Event| value(event.text(), "reason") == Some("new");
        let first = time(waits.iter().find(is_first).or(waits.last()));
        let wait = last.and_then(|event| seconds(event.text(), "wait"));
        let from = wait.map_or(first.plus(rules.delay), |wait| time(last).plus(wait));
        let (last, until) = (time(last), first.plus(rules.window));
        if now > until { Outcome::NeverCameBack { last, until } } else { Outcome::Waiting { from, until } }
    }

    /// How long the mail waited that passed last.
    fn waited(&self) -> Option<Seconds> {
        self.events.iter().rev().find_map(|event| match &event.what {
            Happened::Passed(answer) => seconds(answer, "delay"),
            _ => None,
        })
    }

    pub fn tell(&self, settings: &Settings, now: Timestamp, out: &mut impl Write) -> io::Result<()> {
        let Self { client, host, .. } = self;
        let client = match (client, host) {
            (Some(client), Some(host)) => format!("{} [{client}]", word(host)),
            (Some(client), None) => format!("[{client}]"),
            (None, _) if self.unclear => "a client".into(),
            (None, _) => "this host".into(),
        };
        let claims = if self.unclear { ", unless its HELO forged that" } else { "" };
        let to = if self.recipient.is_empty() {
            "recipients not yet known".into()
        } else {
            word(&self.recipient).to_string()
        };
        writeln!(out, "{} -> {to}, from {client}{claims}", sender(&self.sender))?;
        for event in &self.events {
            let id = event.id.as_ref().map(|id| format!(" ({})", word(id))).unwrap_or_default();
            writeln!(out, "  {} {}{id}", event.time, event.explained())?;
        }
        let waited =
            self.waited().map(|waited| format!(", after waiting {}", span(waited))).unwrap_or_default();
        let outcome = match self.outcome(settings, now) {
            Outcome::Delivered => format!("delivered{waited}"),
            Outcome::Bounced => format!("bounced{waited}"),
            Outcome::Accepted => format!("accepted{waited}; nothing is said of a delivery"),
            Outcome::Refused => "refused".into(),
            Outcome::Waiting { from, until } if from > now => {
                format!("has not come back yet; may pass from {from} until {until}")
            }
            Outcome::Waiting { until, .. } => format!("has not come back yet; may pass until {until}"),
            Outcome::NeverCameBack { last, until } => {
                format!("never came back: last seen {last}, could have passed until {until}")
            }
        };
        writeln!(out, "  = {outcome}\n")
    }

    pub fn json(&self, settings: &Settings, now: Timestamp) -> Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let event = |event: &Event| {
            json!({
                "time": event.time.0, "what": event.word(), "text": text(event.text()),
                "client": event.client.map(|client| client.to_string()),
                "message": event.id.as_deref().map(text),
            })
        };
        let (outcome, from, until) = match self.outcome(settings, now) {
            Outcome::Delivered => ("delivered", None, None),
            Outcome::Bounced => ("bounced", None, None),
            Outcome::Accepted => ("accepted", None, None),
            Outcome::Refused => ("refused", None, None),
            Outcome::Waiting { from, until } => ("waiting", Some(from.0), Some(until.0)),
            Outcome::NeverCameBack { until, .. } => ("never-came-back", None, Some(until.0)),
        };
        json!({
            "client": self.client.map(|client| client.to_string()), "unclear": self.unclear, "host": self.host.as_deref().map(text),
            "sender": text(&self.sender), "recipient": text(&self.recipient),
            "events": self.events.iter().map(event).collect::<Vec<_>>(),
            "outcome": outcome, "waited": self.waited().map(|waited| waited.0),
            "may_pass_from": from, "may_pass_until": until,
        })
    }
}
