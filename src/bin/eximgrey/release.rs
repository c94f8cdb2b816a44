//! `eximgrey release`

use crate::command::{self, Failure, Outcome, Result};
use crate::list::network_of;
use crate::output::{count, record_sender, sender, word};
use clap::Args;
use eximgrey::decision;
use eximgrey::identity::{ClientNetwork, Identity};
use eximgrey::memory::{Access, Event, Memory, Question, Scope};
use eximgrey::pasted;
use eximgrey::sender::normalise;
use eximgrey::settings::Settings;
use eximgrey::store::record::{Facts, Record};
use eximgrey::store::{Store, Table};
use eximgrey::time::Timestamp;
use eximgrey::triplet::Triplet;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "\
Examples:
  eximgrey release alice@sender.example bob@example.org
  eximgrey release --client 192.0.2.1      # all mail of that network, whose trap is lifted";

/// Let the next retry of a deferred mail pass.
///
/// That lasts as long as the retry window. With SENDER and RECIPIENT that mail; with --client as well only from that client's network; with --client
/// alone all mail of that network, whose trap is lifted too. It says what waits for the release and what its
/// retry will be answered; where nothing waits, the first attempt passes.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Release {
    /// The envelope sender, "" or "<>" for the null sender
    #[arg(required_unless_present = "client")]
    sender: Option<OsString>,
    /// The recipient
    recipient: Option<OsString>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
}

/// As many as are shown of what waits: more is for `eximgrey list`.
const SHOWN: usize = 5;

pub fn run(command: &Release, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let client = command.client.as_deref().map(|text| command::client(text, settings)).transpose()?;
    let network = client.map(|client| Identity::Network(ClientNetwork::of(client, settings.prefixes)));
    let [from, to] = match (&command.sender, &command.recipient) {
        (Some(from), Some(to)) => command::mail(from, to)?,
        (Some(from), None) => return Err(no_recipient(from)),
        (None, _) => Default::default(),
    };
    let scope = match (&command.sender, &network) {
        (Some(_), None) => Scope::Pair,
        (Some(_), Some(_)) => Scope::Triplet,
        (None, _) => Scope::Network,
    };
    let rules = settings.rules_for(None, &to, &Default::default());
    let rules = rules.map_err(|misuse| Failure::Usage(misuse.text))?;
    let triplet = Triplet::new(network.clone().into_iter().collect(), &from, &to, b"", rules.sender_key);
    let question = Question { triplet: &triplet, rules: &rules, now };
    let store = command::open_store_to_write(settings, now)?;
    store.tell(&Event::Release(&question, scope))?;

    let shown = network.as_ref().map_or_else(String::new, |network| format!(" from {network}"));
    match scope {
        Scope::Network => writeln!(out, "released: all mail{shown}, for {}", rules.window)?,
        Scope::Pair | Scope::Triplet => {
            writeln!(out, "released: {} to {}{shown}, for {}", sender(&from), word(&to), rules.window)?;
        }
    }
    if settings.store.privacy {
        writeln!(out, "what waits for it is not known: with `privacy` the store keeps no addresses")?;
        return Ok(Outcome::Done);
    }
    Waiting::look(&store, &question, scope)?.write(&store, settings, &question, out)?;
    Ok(Outcome::Done)
}

fn no_recipient(from: &OsStr) -> Failure {
    let expected = match pasted::client(from.as_bytes()) {
        Some(client) => format!("a client is released by: eximgrey release --client {client}"),
        None => "expected a recipient, too: eximgrey release SENDER RECIPIENT".into(),
    };
    Failure::Usage(format!("{}: {expected}", word(from.as_bytes())))
}

/// The first attempts that a release is about, and those that look alike; of both the newest.
#[derive(Default)]
struct Waiting {
    many: u64,
    newest: Vec<Record>,
    alike: Vec<Record>,
}

impl Waiting {
    fn look(store: &Store, question: &Question<'_>, scope: Scope) -> Result<Self> {
        let Question { triplet, rules, now } = *question;
        let network = triplet.identities.first().map(|network| network.to_string().into_bytes());
        let mut waiting = Self::default();
        store.scan(Table::Pending, |_, record| {
            let Facts::Pending { record: pending, .. } = record.facts else { return true };
            // Every first attempt has one record of its network.
            if pending.passed.is_some() || record.expires < now || network_of(&record).is_none() {
                return true;
            }
            let texts = &record.texts;
            let same_recipient = || triplet.recipient.as_bytes() == texts.recipient.to_ascii_lowercase();
            let same_sender =
                || normalise(&texts.sender, Some(&texts.recipient), rules.sender_key) == triplet.sender_key;
            let same_network = network.as_ref().is_none_or(|network| *network == texts.identity);
            let same_mail = scope == Scope::Network || same_recipient() && same_sender();
            if same_mail && same_network {
                waiting.many += 1;
                keep(&mut waiting.newest, record);
            } else if scope != Scope::Network
                && (same_recipient() || same_domain(triplet.sender, &texts.sender))
            {
                keep(&mut waiting.alike, record);
            }
            true
        })?;
        Ok(waiting)
    }

    fn write(
        self,
        store: &Store,
        settings: &Settings,
        question: &Question<'_>,
        out: &mut impl Write,
    ) -> Result<()> {
        let answer = |question: &Question<'_>| {
            Ok::<_, Failure>(decision::decide(store, question, Access::Look)?.reply(question.rules.mode))
        };
        if self.many == 0 {
            writeln!(out, "nothing waits for it now; a first attempt is answered: {}", answer(question)?)?;
            if !self.alike.is_empty() {
                writeln!(out, "what waits and looks alike, the newest first:")?;
            }
            for record in &self.alike {
                writeln!(out, "  {}", line(record))?;
            }
            return Ok(());
        }
        writeln!(out, "{} it; the next retry is answered:", waits(self.many))?;
        for record in &self.newest {
            let texts = &record.texts;
            let Ok(rules) = settings.rules_for(None, &texts.recipient, &Default::default()) else { continue };
            let network = network_of(record).into_iter().collect();
            let triplet = Triplet::new(network, &texts.sender, &texts.recipient, b"", rules.sender_key);
            let reply = answer(&Question { triplet: &triplet, rules: &rules, now: question.now })?;
            writeln!(out, "  {}: {reply}", line(record))?;
        }
        if self.many > SHOWN as u64 {
            writeln!(out, "  ... and {} more (eximgrey list)", self.many - SHOWN as u64)?;
        }
        Ok(())
    }
}

fn waits(many: u64) -> String {
    format!("{} {} for", count(many, "first attempt"), if many == 1 { "waits" } else { "wait" })
}

fn line(record: &Record) -> String {
    let Record { facts, texts, .. } = record;
    let first_seen = first_seen(facts);
    format!("{first_seen} {} {} {}", word(&texts.identity), record_sender(texts), word(&texts.recipient))
}

const fn first_seen(facts: &Facts) -> Timestamp {
    match facts {
        Facts::Pending { record, .. } => record.first_seen,
        Facts::Known(known) => known.first_seen,
        Facts::Identity(earned) => earned.first_seen,
    }
}

/// Keeps the newest.
fn keep(records: &mut Vec<Record>, record: Record) {
    records.push(record);
    records.sort_by_key(|record| std::cmp::Reverse(first_seen(&record.facts)));
    records.truncate(SHOWN);
}

fn same_domain(one: &[u8], other: &[u8]) -> bool {
    let domain = |address: &[u8]| {
        let at = address.iter().rposition(|&byte| byte == b'@')?;
        address.get(at + 1..).map(<[u8]>::to_ascii_lowercase)
    };
    domain(one).is_some_and(|domain_of_one| domain(other) == Some(domain_of_one))
}
