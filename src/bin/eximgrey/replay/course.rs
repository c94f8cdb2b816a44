//! How it would have gone by one configuration: each attempt is decided as Exim would have been answered, at
//! the log's own time.
//!
//! Mail that Exim accepted, and that would have had to wait, is tried once more as soon as its wait is over:
//! its sender is taken to have come back, at the earliest.

use super::attempts::Attempt;
use super::figures::Figures;
use super::memory::{Recollection, Who};
use eximgrey::decision;
use eximgrey::identity::Domain;
use eximgrey::memory::{Access, Question};
use eximgrey::policy::Verdict;
use eximgrey::reply::Reason;
use eximgrey::request::Request;
use eximgrey::rules::Mode;
use eximgrey::sender::SenderKey;
use eximgrey::settings::Settings;
use eximgrey::store::any::Any;
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::{Key, Secret};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// A log does not tell connections apart. Recipients of one message come within seconds.
const ONE_MESSAGE: Seconds = Seconds::MINUTE;

pub struct Course<'s> {
    settings: &'s Settings,
    memory: Recollection,
    /// Retries that are taken to have come.
    to_come: BinaryHeap<Reverse<Retry>>,
    came_back: Option<CameBack>,
    figures: Figures,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Retry {
    at: Timestamp,
    /// What is to come at the same time comes in the order of the log.
    place: u64,
    first: Timestamp,
    client: IpAddr,
    host: Option<Vec<u8>>,
    sender: Vec<u8>,
    recipient: Vec<u8>,
}

/// Who came back last, and for what: its other recipients pass with it.
struct CameBack {
    client: IpAddr,
    sender_key: SenderKey,
    first_seen: Timestamp,
    at: Timestamp,
}

impl<'s> Course<'s> {
    /// `learn`: what becomes known is kept with its texts.
    pub fn new(settings: &'s Settings, secret: Secret, learn: bool) -> Self {
        let memory = Recollection::new(secret, settings.store.clone(), learn);
        Self { settings, memory, to_come: BinaryHeap::new(), came_back: None, figures: Figures::default() }
    }

    pub fn take(&mut self, attempt: &Attempt<'_>) {
        self.come_until(attempt.time);
        let Some(verdict) = self.decide(attempt) else {
            self.figures.count(Reason::Error);
            return;
        };
        self.figures.count(verdict.reply(Mode::Enforce).reason);
        match verdict {
            Verdict::New { wait } | Verdict::Early { wait, .. } if attempt.accepted => {
                self.figures.assumed += 1;
                self.to_come.push(Reverse(Retry {
                    at: attempt.time.plus(wait),
                    place: self.figures.assumed,
                    first: attempt.time,
                    client: attempt.client,
                    host: attempt.host.map(<[u8]>::to_vec),
                    sender: attempt.sender.to_vec(),
                    recipient: attempt.recipient.to_vec(),
                }));
            }
            Verdict::Retried { waited, .. }
            | Verdict::CameBack { waited }
            | Verdict::SenderCameBack { waited } => {
                self.figures.waits.add(waited);
            }
            _ => {}
        }
    }

    /// The retries that are to come until then.
    fn come_until(&mut self, time: Timestamp) {
        while self.to_come.peek().is_some_and(|Reverse(retry)| retry.at <= time) {
            let Some(Reverse(retry)) = self.to_come.pop() else { return };
            let Retry { at, first, client, ref host, ref sender, ref recipient, .. } = retry;
            let host = host.as_deref();
            // Whoever deals with it otherwise has passed or is refused by then.
            self.decide(&Attempt { time: at, client, host, sender, recipient, accepted: true });
            self.figures.assumed_waits.add(at.since(first));
        }
    }

    /// `None` where mail passes because of a fault.
    fn decide(&mut self, attempt: &Attempt<'_>) -> Option<Verdict> {
        let &Attempt { time: now, client, host, sender, recipient, accepted } = attempt;
        let rules = self.settings.rules_for(None, recipient, &Default::default()).ok()?;
        let host = host.and_then(Domain::parse);
        let request = Request { client: Some(client), sender, recipient, host, ..Request::default() };
        let mut triplet = request.triplet(self.settings.prefixes, rules.sender_key)?;
        if let Some(verdict) = decision::without_records(&rules, Some(&triplet), now) {
            return Some(verdict);
        }
        let same = |known: &&CameBack| {
            known.client == client
                && known.sender_key == triplet.sender_key
                && now.since(known.at) <= ONE_MESSAGE
        };
        triplet.came_back = self.came_back.as_ref().filter(same).map(|known| known.first_seen);
        let question = Question { triplet: &triplet, rules: &rules, now };
        let verdict = decision::decide(&self.memory, &question, Access::Record).ok()?;
        if let Verdict::New { .. } | Verdict::Early { .. } = verdict {
            let network = triplet.identities.first().map(ToString::to_string).unwrap_or_default();
            let who = Who { network, sender: sender.to_vec() };
            self.figures.waited.add(&who);
            if let (Verdict::New { .. }, false) = (verdict, accepted) {
                self.memory.refused(&question, who);
            }
        }
        if let (Verdict::Retried { waited, .. }, Mode::Enforce) = (verdict, rules.mode) {
            let first_seen = Timestamp(now.0.saturating_sub(waited.0));
            let first_seen = triplet.came_back.map_or(first_seen, |known| known.min(first_seen));
            let sender_key = triplet.sender_key;
            self.came_back = Some(CameBack { client, sender_key, first_seen, at: now });
        }
        Some(verdict)
    }

    /// What came of it, and what is known now, by the last time of the log.
    pub fn end(mut self, end: Timestamp, now: Timestamp) -> (Figures, Vec<(Key, Any)>) {
        self.come_until(Timestamp(u32::MAX));
        (self.figures.never_came_back, self.figures.may_come_back) = self.memory.lost(end);
        (self.figures, self.memory.known(now))
    }
}
