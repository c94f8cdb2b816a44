//! What a scan of the store tells of who writes here: the busiest networks and domains, in one pass and in
//! memory that has a bound, whatever the outside sends.

use super::figures::Period;
use eximgrey::policy::has_proved_itself;
use eximgrey::reply::By;
use eximgrey::rules::Rules;
use eximgrey::store::error::StoreError;
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Key;
use eximgrey::words;
use std::collections::HashMap;

/// How many of a list are shown.
pub const SHOWN: usize = 10;

/// Who has waited so long is worth a look: servers come back within half an hour (RFC 5321 section 4.5.4.1).
pub const LONG: Seconds = Seconds(4 * 3_600);

words! {
    /// What became of mail; in the order in which it is told.
    Class {
        /// Deferred, the delay is over, and no retry has come.
        NotBack = "not_back",
        /// Came back and passed, in this time.
        Passed = "passed",
        /// Known triplets that were seen in this time.
        Known = "known",
        /// Client identities that have proved themselves, by their passes.
        Auto = "auto",
        /// Deferred, and the delay is not over.
        Waiting = "waiting",
    }
}

words! {
    /// What is listed.
    List {
        /// Client networks.
        Networks = "networks",
        /// Domains that SPF, DKIM or the host name vouch for.
        Domains = "identities",
        /// Domains of envelope senders.
        Senders = "sender_domains",
        /// Domains of recipients.
        Recipients = "recipient_domains",
    }
}

/// What a scan found.
#[derive(Default)]
pub struct Scanned {
    /// Mail of each class: a triplet has a record for each of its identities, and counts once.
    counts: [u64; Class::ALL.len()],
    tops: [[Top; List::ALL.len()]; Class::ALL.len()],
    /// First attempts of this time whose retry would still pass.
    pub may_come_back: u64,
    /// Triplets that passed in this time, and more than once.
    pub passed_again: u64,
    /// Triplets that passed in this time after more than [`LONG`], and after more than 20 hours.
    pub late: u64,
    pub a_day_late: u64,
    /// Those of them that waited longest, the longest first.
    pub longest: Vec<Slow>,
    /// Mail that waits and was tried from most networks.
    pub roaming: Vec<Roaming>,
    /// Records without texts.
    pub without_texts: u64,
    /// Records of a version that this eximgrey does not know.
    pub unreadable: u64,
    group: Option<Roaming>,
}

/// Mail that came back late.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slow {
    pub waited: Seconds,
    pub network: Vec<u8>,
    pub sender_domain: Vec<u8>,
    pub recipient_domain: Vec<u8>,
}

/// Mail that was tried from one network after the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Roaming {
    pub networks: u64,
    pub first_seen: Timestamp,
    pub sender_domain: Vec<u8>,
    pub recipient_domain: Vec<u8>,
    /// What the keys of all its records begin with.
    pair: [u8; 8],
}

impl Scanned {
    /// Looks at each record once.
    pub fn new(store: &Store, rules: &Rules, period: Period) -> Result<Self, StoreError> {
        let mut scanned = Self::default();
        for table in [Table::Pending, Table::Known] {
            let skipped = store.scan(table, |key, record| {
                scanned.add(key, &record, rules, period);
                true
            })?;
            scanned.unreadable += skipped.unreadable;
            scanned.end_group();
        }
        Ok(scanned)
    }

    pub fn count(&self, class: Class) -> u64 {
        self.counts.get(class as usize).copied().unwrap_or(0)
    }

    pub fn top(&self, class: Class, list: List) -> Option<&Top> {
        self.tops.get(class as usize)?.get(list as usize)
    }

    pub fn add(&mut self, key: Key, record: &Record, rules: &Rules, period: Period) {
        let Period { from, to: now, .. } = period;
        match record.facts {
            Facts::Pending { record: pending, ripe, .. } => {
                if pending.passed.is_none() && pending.first_seen >= from {
                    let class = if ripe > now { Class::Waiting } else { Class::NotBack };
                    self.note(class, record, 1);
                    self.group(key, record);
                    self.may_come_back += u64::from(record.by == By::Network && record.expires >= now);
                }
            }
            Facts::Known(known) if record.expires >= now => {
                if known.last_seen >= from {
                    self.note(Class::Known, record, 1);
                }
                if known.passed >= from {
                    self.note(Class::Passed, record, 1);
                    let is_mail = record.by == By::Network;
                    self.passed_again += u64::from(is_mail && known.last_seen > known.passed);
                    if is_mail {
                        self.time(known.passed.since(known.first_seen), &record.texts);
                    }
                }
            }
            Facts::Identity(earned) if record.expires >= now && has_proved_itself(rules, &earned, now) => {
                self.note(Class::Auto, record, earned.passes.into());
            }
            Facts::Known(_) | Facts::Identity(_) => {}
        }
    }

    /// Counts a record in the lists of its class.
    fn note(&mut self, class: Class, record: &Record, n: u64) {
        let texts = &record.texts;
        // There is always one for the network.
        let is_mail = record.by == By::Network && class != Class::Auto;
        if let Some(count) = self.counts.get_mut(class as usize) {
            *count += u64::from(is_mail || class == Class::Auto);
        }
        if texts.identity.is_empty() {
            self.without_texts += 1;
            return;
        }
        let Some([networks, domains, senders, recipients]) = self.tops.get_mut(class as usize) else {
            return;
        };
        match record.by {
            By::Network => networks.add(&texts.identity, n),
            By::Spf | By::Dkim | By::Host => domains.add(&texts.identity, n),
        }
        if is_mail {
            senders.add(&sender_domain(texts), n);
            recipients.add(&domain(&texts.recipient), n);
        }
    }

    /// All records of one sender and recipient come one after the other.
    fn group(&mut self, Key(key): Key, record: &Record) {
        let Some(pair) = key.first_chunk::<8>().copied().filter(|_| record.by == By::Network) else { return };
        let first_seen = record.facts.first_seen();
        match &mut self.group {
            Some(group) if group.pair == pair => {
                group.networks += 1;
                group.first_seen = group.first_seen.min(first_seen);
            }
            _ => {
                self.end_group();
                let texts = &record.texts;
                let (sender_domain, recipient_domain) = (sender_domain(texts), domain(&texts.recipient));
                self.group = Some(Roaming { networks: 1, first_seen, sender_domain, recipient_domain, pair });
            }
        }
    }

    pub fn end_group(&mut self) {
        // Two are a sender with two addresses, as most have: IPv4 and IPv6.
        if let Some(group) = self.group.take().filter(|group| group.networks > 2) {
            keep_largest(&mut self.roaming, group);
        }
    }

    fn time(&mut self, waited: Seconds, texts: &Texts) {
        if waited <= LONG {
            return;
        }
        self.late += 1;
        self.a_day_late += u64::from(waited > Seconds::HOUR.times(20));
        let [sender_domain, recipient_domain] = [sender_domain(texts), domain(&texts.recipient)];
        keep_largest(
            &mut self.longest,
            Slow { waited, network: texts.identity.clone(), sender_domain, recipient_domain },
        );
    }
}

fn keep_largest<T: Ord>(kept: &mut Vec<T>, new: T) {
    let place = kept.partition_point(|other| *other >= new);
    if place < SHOWN {
        kept.insert(place, new);
        kept.truncate(SHOWN);
    }
}

/// The null sender as it is written.
fn sender_domain(texts: &Texts) -> Vec<u8> {
    if texts.sender.is_empty() && !texts.identity.is_empty() { b"<>".to_vec() } else { domain(&texts.sender) }
}

/// The domain of an address, in lower case; empty if it has none.
pub fn domain(address: &[u8]) -> Vec<u8> {
    let at = address.iter().rposition(|&byte| byte == b'@');
    at.and_then(|at| address.get(at + 1..)).unwrap_or_default().to_ascii_lowercase()
}

/// The texts that come most often, and how often at least, with a bounded number of counters (Misra and
/// Gries, "Finding repeated elements", 1982; put together as by Agarwal and others, "Mergeable summaries",
/// 2012): where there are too many, the count of the first that does not fit is taken from all.
#[derive(Default)]
pub struct Top {
    counts: HashMap<Vec<u8>, u64>,
    /// What was taken from each count, at most.
    lost: u64,
}

impl Top {
    /// As many stay where there are twice as many. What is more than one in so many is not missed.
    const KEPT: usize = 4_000;

    /// It came so many times more.
    pub fn add(&mut self, text: &[u8], n: u64) {
        if let Some(count) = self.counts.get_mut(text) {
            *count += n;
            return;
        }
        if self.counts.len() == 2 * Self::KEPT {
            let mut all: Vec<u64> = self.counts.values().copied().collect();
            let (_, cut, _) = all.select_nth_unstable_by(Self::KEPT, |one, other| other.cmp(one));
            self.counts.retain(|_, count| {
                *count = count.saturating_sub(*cut);
                *count > 0
            });
            self.lost += *cut;
        }
        self.counts.insert(text.to_vec(), n);
    }

    /// The most frequent, the first first, and how often each came at least.
    pub fn first(&self, most: usize) -> Vec<(&[u8], u64)> {
        let mut all: Vec<_> = self.counts.iter().map(|(text, count)| (text.as_slice(), *count)).collect();
        all.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(other.0)));
        all.truncate(most);
        all
    }

    /// By how much each may have come more often; 0: the counts are exact.
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With more texts than it has counters, each count is too low by no more than it says, and nothing that
    /// is frequent is missed.
    #[test]
    fn what_is_frequent_is_found_in_any_flood() {
        let mut top = Top::default();
        for n in 0..200_000_u64 {
            top.add(format!("{n}.hostile.example").as_bytes(), 1);
            if n % 100 == 0 {
                top.add(b"busy.example", 1);
            }
            if n % 1_000 == 0 {
                top.add(b"less.example", 3);
            }
        }
        assert!(top.counts.len() <= 2 * Top::KEPT);
        let first = top.first(2);
        for ((text, count), (expected, real)) in
            first.into_iter().zip([(&b"busy.example"[..], 2_000), (b"less.example", 600)])
        {
            assert_eq!(text, expected);
            assert!(count <= real && real <= count + top.lost(), "{count} of {real}, {} lost", top.lost());
        }
        assert!(top.lost() < 203_000 / Top::KEPT as u64);
    }

    #[test]
    fn few_texts_are_counted_exactly() {
        let mut top = Top::default();
        for (text, n) in [("b", 2), ("a", 2), ("c", 7), ("a", 1)] {
            top.add(text.as_bytes(), n);
        }
        assert_eq!(top.first(2), [(&b"c"[..], 7), (b"a", 3)]);
        assert_eq!(top.lost(), 0);
    }

    #[test]
    fn a_domain_is_what_stands_behind_the_last_at() {
        for (address, expected) in
            [("a@B.example", "b.example"), ("\"x@y\"@z.example", "z.example"), ("postmaster", ""), ("", "")]
        {
            assert_eq!(domain(address.as_bytes()), expected.as_bytes(), "{address}");
        }
    }
}
