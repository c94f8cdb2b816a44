//! What a replay counts, in bounded memory.

use super::memory::Who;
use crate::report::busiest::{Top, domain};
use eximgrey::reply::Reason;
use eximgrey::time::Seconds;
use std::collections::BTreeMap;

/// By one configuration.
#[derive(Default)]
pub struct Figures {
    /// By what would have been answered to each attempt.
    reasons: [u64; Reason::ALL.len()],
    /// First attempts and early retries that the log says were accepted: their senders are taken to have come
    /// back.
    pub assumed: u64,
    /// How long mail waited whose retry the log has.
    pub waits: Waits,
    /// How long mail that was accepted would have waited at the least.
    pub assumed_waits: Waits,
    /// Who would have had to wait.
    pub waited: Crowd,
    pub never_came_back: Crowd,
    pub may_come_back: u64,
}

impl Figures {
    pub fn count(&mut self, reason: Reason) {
        self.reasons.iter_mut().skip(reason as usize).take(1).for_each(|count| *count += 1);
    }

    pub fn reason(&self, reason: Reason) -> u64 {
        self.reasons.get(reason as usize).copied().unwrap_or(0)
    }

    pub fn attempts(&self) -> u64 {
        self.reasons.iter().sum()
    }

    pub fn had_to_wait(&self) -> u64 {
        self.reason(Reason::New) + self.reason(Reason::Early)
    }

    pub fn passed_at_once(&self) -> u64 {
        self.attempts() - self.had_to_wait() - self.reason(Reason::Retried)
    }
}

/// Waits, each in how many mails: no more of them than seconds in a window.
#[derive(Default)]
pub struct Waits {
    many: u64,
    by_length: BTreeMap<Seconds, u64>,
}

impl Waits {
    pub fn add(&mut self, wait: Seconds) {
        self.many += 1;
        *self.by_length.entry(wait).or_default() += 1;
    }

    pub const fn many(&self) -> u64 {
        self.many
    }

    /// The wait that so many per cent did not exceed.
    pub fn percentile(&self, per_cent: u64) -> Option<Seconds> {
        let rank = (self.many * per_cent).div_ceil(100);
        let mut seen = 0;
        let reached = |(_, many): &(&Seconds, &u64)| {
            seen += **many;
            seen >= rank
        };
        self.by_length.iter().find(reached).map(|(wait, _)| *wait)
    }
}

/// How many, and who most often.
#[derive(Default)]
pub struct Crowd {
    pub many: u64,
    pub networks: Top,
    pub sender_domains: Top,
}

impl Crowd {
    pub fn add(&mut self, who: &Who) {
        self.many += 1;
        self.networks.add(who.network.as_bytes(), 1);
        let domain = if who.sender.is_empty() { b"<>".to_vec() } else { domain(&who.sender) };
        self.sender_domains.add(&domain, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_wait_that_so_many_did_not_exceed() {
        let mut waits = Waits::default();
        assert_eq!(waits.percentile(50), None);
        (1..=200).rev().for_each(|wait| waits.add(Seconds(wait)));
        assert_eq!([50, 90, 99, 100].map(|p| waits.percentile(p).unwrap().0), [100, 180, 198, 200]);
        let mut one = Waits::default();
        one.add(Seconds(300));
        assert_eq!([50, 99].map(|p| one.percentile(p)), [Some(Seconds(300)); 2]);
    }
}
