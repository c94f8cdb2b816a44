//! `eximgrey trap`

use crate::command::{self, Outcome, Result};
use clap::Args;
use eximgrey::identity::{ClientNetwork, Identity};
use eximgrey::memory::{Event, Memory, Question};
use eximgrey::reply::Effect;
use eximgrey::settings::Settings;
use eximgrey::time::Timestamp;
use eximgrey::triplet::Triplet;
use std::io::Write;

/// Trap a client's network for a while.
///
/// Its mail is deferred for `trap_time` (a day), and what waited starts anew. A network that has proved itself is not trapped (exit status 1). `eximgrey release --client` lifts a trap.
#[derive(Args)]
pub struct Trap {
    /// The client's address
    client: String,
}

pub fn run(command: &Trap, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let network = ClientNetwork::of(command::client(&command.client, settings)?, settings.prefixes);
    let rules = settings.rules;
    let triplet = Triplet::new(vec![Identity::Network(network)], b"", b"", b"", rules.sender_key);
    let question = Question { triplet: &triplet, rules: &rules, now };
    match command::open_store_to_write(settings, now)?.tell(&Event::Trap(&question))? {
        Effect::Recorded => {
            writeln!(out, "trapped: {network}, until {}", now.plus(rules.trap_time))?;
            Ok(Outcome::Done)
        }
        _ => {
            writeln!(out, "not trapped: {network} has proved itself (eximgrey list auto client={network})")?;
            Ok(Outcome::Negative)
        }
    }
}
