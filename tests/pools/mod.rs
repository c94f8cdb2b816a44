//! Sending pools against greylisters: one plan of messages, each delivered by the retries of its pool, through
//! eximgrey and through the rules of postgrey and greylistd. `make pools` prints the result, `tests/pools.rs` holds it to
//! what we promise.
//!
//! - [`schedule`]: when senders retry, as measured.
//! - [`plan`]: the pools and their messages; the same for every greylister, down to the address of each attempt.
//! - [`ours`]: eximgrey itself, arguments to store.
//! - [`peers`]: the rules of postgrey and greylistd.
//! - [`report`]: the figures and the table.
//! - [`botnet`]: spam, as far as what is done for pools lets it through.

pub mod botnet;
pub mod ours;
pub mod peers;
pub mod plan;
pub mod report;
pub mod schedule;

use eximgrey::time::{Seconds, Timestamp};
use plan::Plan;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// One attempt to deliver, with all that Exim could find out about the client.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub client: IpAddr,
    pub sender: &'a str,
    pub recipient: &'a str,
    /// The domain that SPF passes for, if it passes.
    pub spf: Option<&'a str>,
    /// The client's host name, verified forward and back.
    pub host: &'a str,
}

/// Something that lets mail pass at once or defers it.
pub trait Greylister {
    fn name(&self) -> &'static str;
    /// Answers an attempt. Time never goes back.
    fn passes(&mut self, attempt: &Attempt<'_>, now: Timestamp) -> bool;
}

/// The time from the first attempt to the one that passed; `None` if the pool gave up.
pub type Delay = Option<Seconds>;

/// All of them, in the order of the table.
pub fn greylisters() -> Vec<Box<dyn Greylister>> {
    vec![
        Box::new(ours::Eximgrey::new(ours::Shown::Spf)),
        Box::new(ours::Eximgrey::new(ours::Shown::Host)),
        Box::new(ours::Eximgrey::new(ours::Shown::NetworkOnly)),
        Box::new(peers::Postgrey::default()),
        Box::new(peers::Greylistd::new(peers::Mask::Network)),
        Box::new(peers::Greylistd::new(peers::Mask::Exact)),
    ]
}

/// Delivers the plan's messages through a greylister: what became of each, in the plan's order. All pools meet the
/// same greylister, in the order of time, as they would one mail host. `watch` sees each attempt and its answer.
pub fn deliver(
    plan: &Plan,
    greylister: &mut dyn Greylister,
    mut watch: impl FnMut(&Attempt<'_>, Timestamp, bool),
) -> Vec<Delay> {
    let mut delays = vec![None; plan.messages.len()];
    let mut due: BinaryHeap<Reverse<(Timestamp, usize, usize)>> =
        plan.messages.iter().enumerate().map(|(message, m)| Reverse((m.sent, message, 0))).collect();
    while let Some(Reverse((now, message, nth))) = due.pop() {
        let attempt = plan.attempt(message, nth);
        let passes = greylister.passes(&attempt, now);
        watch(&attempt, now, passes);
        let sent = plan.messages[message].sent;
        if passes {
            delays[message] = Some(now.since(sent));
        } else if let Some(after) = plan.schedule(message).retry(nth) {
            due.push(Reverse((sent.plus(after), message, nth + 1)));
        }
    }
    delays
}
