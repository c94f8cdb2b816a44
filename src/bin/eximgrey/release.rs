//! `eximgrey release`

use crate::command::{self, Failure, Outcome, Result};
use crate::output::{sender, word};
use clap::Args;
use eximgrey::identity::{ClientNetwork, Identity};
use eximgrey::memory::{Event, Memory, Question, Scope};
use eximgrey::settings::Settings;
use eximgrey::time::Timestamp;
use eximgrey::triplet::Triplet;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// Lets the next retry of a deferred mail pass, for as long as the retry window lasts.
///
/// With SENDER and RECIPIENT that mail; with --client as well only from that client's network; with --client
/// alone all mail of that network, whose trap is lifted too.
#[derive(Args)]
pub struct Release {
    /// The envelope sender, "" or "<>" for the null sender
    #[arg(requires = "recipient", required_unless_present = "client")]
    sender: Option<OsString>,
    /// The recipient
    recipient: Option<OsString>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
}

pub fn run(command: &Release, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let client = command.client.as_deref().map(|text| command::client(text, settings)).transpose()?;
    let network = client.map(|client| Identity::Network(ClientNetwork::of(client, settings.prefixes)));
    let shown = network.as_ref().map_or_else(String::new, |network| format!(" from {network}"));
    let from = command.sender.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
    let from = if from == b"<>" { b"" } else { from };
    let to = command.recipient.as_deref().map_or(&b""[..], OsStrExt::as_bytes);
    let scope = match (&command.sender, &network) {
        (Some(_), None) => Scope::Pair,
        (Some(_), Some(_)) => Scope::Triplet,
        (None, _) => Scope::Network,
    };
    let rules = settings.rules_for(None, to, &Default::default());
    let rules = rules.map_err(|misuse| Failure::Usage(misuse.text))?;
    let triplet = Triplet::new(network.into_iter().collect(), from, to, b"", rules.sender_key);
    let question = Question { triplet: &triplet, rules: &rules, now };
    command::open_store_to_write(settings, now)?.tell(&Event::Release(&question, scope))?;
    match scope {
        Scope::Network => writeln!(out, "released: all mail{shown}, for {}", rules.window)?,
        Scope::Pair | Scope::Triplet => {
            writeln!(out, "released: {} to {}{shown}, for {}", sender(from), word(to), rules.window)?;
        }
    }
    Ok(Outcome::Done)
}
