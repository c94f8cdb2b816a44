//! `eximgrey forget`

use crate::command::{self, Failure, Outcome, Result};
use crate::output::{sender, word};
use clap::Args;
use eximgrey::identity::{ClientNetwork, Domain, Identity};
use eximgrey::memory::{Event, Memory, Question};
use eximgrey::reply::Effect;
use eximgrey::settings::Settings;
use eximgrey::time::Timestamp;
use eximgrey::triplet::Triplet;
use eximgrey::whitelist::entry_domain;
use eximgrey::{network, pasted};
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

const EXAMPLES: &str = "\
Examples:
  eximgrey forget 192.0.2.1                             # what the network has earned
  eximgrey forget sender.example                        # what the domain has earned
  eximgrey forget alice@sender.example bob@example.org  # that mail, from any client
  eximgrey forget learned                               # which first attempts came back";

/// Make a client, or mail that has passed, wait again.
///
/// With a client's address or network, or a domain: what it has earned is forgotten, and all mail that is
/// known by it. With SENDER and RECIPIENT: that mail, from whatever client, and that the recipient wrote to
/// the sender. With the word learned: how often first attempts came back. The whitelist stays as it is. Exit status 1: there was nothing to forget.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Forget {
    /// The client's address or network, a domain, the word learned, or the envelope sender ("" or "<>" for the null sender)
    #[arg(value_name = "CLIENT|DOMAIN|SENDER|learned")]
    who: OsString,
    /// The recipient
    recipient: Option<OsString>,
}

pub fn run(command: &Forget, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let who = command.who.as_bytes();
    let (told, what) = match &command.recipient {
        Some(recipient) => {
            let [from, to] = &command::mail(&command.who, recipient)?;
            let rules = settings.rules_for(None, to, &Default::default());
            let rules = rules.map_err(|misuse| Failure::Usage(misuse.text))?;
            let triplet = Triplet::new(Vec::new(), from, to, b"", rules.sender_key);
            let question = Question { triplet: &triplet, rules: &rules, now };
            let store = command::open_store_to_write(settings, now)?;
            (store.tell(&Event::ForgetPair(&question))?, format!("{} to {}", sender(from), word(to)))
        }
        None if who == b"learned" => {
            let store = command::open_store_to_write(settings, now)?;
            let any = store.learned().is_some_and(|table| table.clear());
            (if any { Effect::Recorded } else { Effect::Nothing }, "what was learned".into())
        }
        None => {
            let identities = identities(who, settings)?;
            let store = command::open_store_to_write(settings, now)?;
            let told = store.tell(&Event::ForgetClient(&identities))?;
            if settings.store.privacy {
                writeln!(
                    out,
                    "mail that is known by it stays known: with `privacy` the store does not tell which"
                )?;
            }
            (told, identities.first().map_or_else(String::new, ToString::to_string))
        }
    };
    if told == Effect::Recorded {
        writeln!(out, "forgotten: {what}")?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "nothing is known of {what}")?;
    Ok(Outcome::Negative)
}

/// What a client or domain is known by.
fn identities(who: &[u8], settings: &Settings) -> Result<Vec<Identity>> {
    let text = String::from_utf8_lossy(who);
    if pasted::client(who).is_some() || network::is_meant(text.trim()) {
        let client = command::client(&text, settings)?;
        return Ok(vec![Identity::Network(ClientNetwork::of(client, settings.prefixes))]);
    }
    let pasted = String::from_utf8_lossy(&pasted::address(who)).into_owned();
    let name = command::ascii(pasted.strip_prefix('@').unwrap_or(&pasted))?;
    let Some(domain) = entry_domain(name.as_bytes()).and_then(|name| Domain::parse(&name)) else {
        let expected = "expected a client's address, its network, a domain, or SENDER RECIPIENT";
        return Err(Failure::Usage(format!("{}: {expected}", word(who))));
    };
    Ok([Identity::Spf, Identity::Dkim, Identity::Host].map(|kind| kind(domain.clone())).into())
}
