//! Makes records of ours of what peers say: known triplets, first attempts, and what clients have earned,
//! counted as if eximgrey had been there.

use super::peer::{Last, Mail, Said};
use eximgrey::evidence::{Earned, Known, Outcomes, Pending};
use eximgrey::identity::{ClientNetwork, Identity};
use eximgrey::policy::COUNT_INTERVAL;
use eximgrey::reply::By;
use eximgrey::rules::Rules;
use eximgrey::sender::{Level, normalise};
use eximgrey::settings::Settings;
use eximgrey::store::any::Any;
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::records::crowd;
use eximgrey::time::Timestamp;
use eximgrey::triplet::{Key, Secret, Triplet};
use ipnetwork::IpNetwork;
use std::collections::HashMap;

pub struct Gather<'a> {
    pub settings: &'a Settings,
    pub secret: Secret,
    pub now: Timestamp,
    clients: HashMap<Key, (Identity, Client)>,
}

/// What a client has earned.
#[derive(Default)]
struct Client {
    /// As the peer counted.
    passes: u32,
    /// In how many hours mail of it passed first: one burst of mail is one proof. No more are kept than any
    /// rule asks for.
    hours: Vec<u32>,
    first: Timestamp,
    last: Timestamp,
}

const MOST_HOURS: usize = 64;

/// What is to be done with what a peer says.
#[derive(Debug, PartialEq, Eq)]
pub enum Gathered {
    Take(Key, Any),
    /// It counts for its client, and comes at the end.
    Counted,
    Expired,
}

impl<'a> Gather<'a> {
    pub fn new(settings: &'a Settings, secret: Secret, now: Timestamp) -> Self {
        Self { settings, secret, now, clients: HashMap::new() }
    }

    /// Else what was expected.
    pub fn add(&mut self, said: Said) -> Result<Gathered, String> {
        match said {
            Said::Client { client, passes, first, last } => {
                let last = self.last(last, &self.settings.rules);
                if self.is_over(last, &self.settings.rules) {
                    return Ok(Gathered::Expired);
                }
                let hour = first.0 / COUNT_INTERVAL.0;
                let entry = self.client(self.network(client)?, first, last);
                entry.passes = entry.passes.max(passes);
                entry.hours(hour);
                Ok(Gathered::Counted)
            }
            Said::Passed { mail, first, last } => self.passed(&mail, first, last),
            Said::Waits { mail, first } => self.waits(&mail, first),
        }
    }

    fn passed(&mut self, mail: &Mail, first: Timestamp, last: Last) -> Result<Gathered, String> {
        let rules = self.rules(&mail.recipient)?;
        let last = self.last(last, &rules);
        let first = first.min(last);
        if self.is_over(last, &rules) {
            return Ok(Gathered::Expired);
        }
        let network = self.network(mail.client)?;
        let new_hour = self.client(network.clone(), first, last).hours(first.0 / COUNT_INTERVAL.0);
        let Some(sender) = unmasked(mail, rules.sender_key) else { return Ok(Gathered::Counted) };
        let triplet = Triplet::new(vec![network.clone()], &sender, &mail.recipient, b"", rules.sender_key);
        let keys = triplet.keys(&self.secret);
        let key = keys.first().ok_or("a client")?.known;
        let passed = first.plus(rules.delay).min(last);
        let known = Known { first_seen: first, passed, last_seen: last, counted: new_hour.into() };
        let record = record(&network, mail, Facts::Known(known), last.plus(rules.keep()));
        Ok(Gathered::Take(key, record))
    }

    fn waits(&mut self, mail: &Mail, first: Timestamp) -> Result<Gathered, String> {
        let rules = self.rules(&mail.recipient)?;
        let first = first.min(self.now);
        let expires = first.plus(rules.window);
        if expires < self.now {
            return Ok(Gathered::Expired);
        }
        let network = self.network(mail.client)?;
        let sender =
            unmasked(mail, rules.sender_key).ok_or("a sender without `#` in the place of numbers")?;
        let triplet = Triplet::new(vec![network.clone()], &sender, &mail.recipient, b"", rules.sender_key);
        let keys = triplet.keys(&self.secret);
        let key = keys.first().ok_or("a client")?.pending;
        let attempt = Pending { first_seen: first, passed: None };
        let facts = Facts::Pending {
            record: attempt,
            ripe: first.plus(rules.delay),
            network: crowd(&self.secret, &network),
        };
        Ok(Gathered::Take(key, record(&network, mail, facts, expires)))
    }

    /// What clients have earned.
    pub fn clients(self) -> impl Iterator<Item = (Key, Any)> {
        let keep = self.settings.rules.keep();
        self.clients.into_iter().map(move |(key, (identity, client))| {
            let passes = client.passes.max(client.hours.len().try_into().unwrap_or(u32::MAX));
            let earned = Earned {
                passes,
                first_seen: client.first,
                counted: client.last,
                last_seen: client.last,
                outcomes: Outcomes::passes(passes),
                blamed: Timestamp(0),
            };
            let texts = Texts { identity: identity.to_string().into_bytes(), ..Texts::default() };
            let expires = client.last.plus(keep);
            (key, Any::Attempt(Record { by: By::Network, expires, facts: Facts::Identity(earned), texts }))
        })
    }

    fn client(&mut self, network: Identity, first: Timestamp, last: Timestamp) -> &mut Client {
        let key = self.secret.identity(&network);
        let start = || (network, Client { first, last, ..Client::default() });
        let (_, client) = self.clients.entry(key).or_insert_with(start);
        client.first = client.first.min(first);
        client.last = client.last.max(last);
        client
    }

    fn rules(&self, recipient: &[u8]) -> Result<Rules, String> {
        let rules = self.settings.rules_for(None, recipient, &Default::default());
        rules.map_err(|_| "a recipient whose policy has no fault".into())
    }

    /// A time from the future is a wrong clock of theirs.
    fn last(&self, last: Last, rules: &Rules) -> Timestamp {
        match last {
            Last::Seen(last) => last.min(self.now),
            // So that it counts for as long as it would have there.
            Last::Until(until) => Timestamp(until.0.saturating_sub(rules.keep().0)).min(self.now),
        }
    }

    fn is_over(&self, last: Timestamp, rules: &Rules) -> bool {
        last.plus(rules.keep()) < self.now
    }

    /// The network that clients are known by here.
    fn network(&self, client: IpNetwork) -> Result<Identity, String> {
        let ours = ClientNetwork::of(client.ip(), self.settings.prefixes);
        let prefixes = self.settings.prefixes;
        let least = if client.is_ipv4() { prefixes.ipv4 } else { prefixes.ipv6 };
        if client.prefix() < least {
            return Err(format!("a network no larger than those that clients are known by here, /{least}"));
        }
        Ok(Identity::Network(ours))
    }
}

impl Client {
    /// Mail has first passed in this hour; says whether it is one more.
    fn hours(&mut self, hour: u32) -> bool {
        let is_new = !self.hours.contains(&hour) && self.hours.len() < MOST_HOURS;
        if is_new {
            self.hours.push(hour);
        }
        is_new
    }
}

/// The sender with numbers in the places of `#`, if its key is the same whatever the numbers. Short ones may
/// tell people apart and are not masked here: for a sender with such a one the record is of no use, and no
/// harm.
fn unmasked(Mail { sender, masked, recipient, .. }: &Mail, level: Level) -> Option<Vec<u8>> {
    if !masked {
        return Some(sender.clone());
    }
    let with = |number: &[u8]| sender.split(|&byte| byte == b'#').collect::<Vec<_>>().join(number);
    let key = |number| normalise(&with(number), Some(recipient), level);
    let same = [&b"4711"[..], b"83062", b"1718000000"].map(key);
    same.windows(2).all(|pair| matches!(pair, [one, other] if one == other)).then(|| with(b"4711"))
}

fn record(network: &Identity, mail: &Mail, facts: Facts, expires: Timestamp) -> Any {
    let texts = Texts {
        identity: network.to_string().into_bytes(),
        sender: mail.sender.clone(),
        recipient: mail.recipient.clone(),
        cut: false,
    };
    Any::Attempt(Record { by: By::Network, expires, facts, texts })
}
