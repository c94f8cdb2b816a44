//! The pools, their addresses, and the messages they send. All of it is drawn from one small generator with a fixed
//! seed, so every run and every greylister sees the same messages, and the nth attempt of a message the same address.

use super::Attempt;
use super::schedule::{Schedule, measured};
use eximgrey::time::{Seconds, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// 2026-01-01.
const START: Timestamp = Timestamp(1_767_225_600);

/// How long a pool goes on sending: longer than postgrey and eximgrey remember, shorter than greylistd does.
const SPAN: Seconds = Seconds::DAY.times(50);

/// What each pool sends in that time.
const MESSAGES: usize = 40;

/// How a pool chooses the address of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Each message keeps the address of its first attempt.
    Sticky,
    /// Each attempt comes from the next address.
    RoundRobin,
    /// Each attempt comes from any address.
    Random,
}

const TURNS: [Turn; 3] = [Turn::Sticky, Turn::RoundRobin, Turn::Random];

/// Where a pool's addresses are.
#[derive(Clone, Copy)]
enum Place {
    OneNetwork,
    /// Spread evenly over so many IPv4 /24.
    Networks(usize),
    /// Every second one IPv6 in a /64 of its own, the others in one IPv4 /24.
    BothFamilies,
}

/// Whose mail a pool sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Senders {
    /// Those of its own domain, which publishes SPF.
    Own,
    /// Those of customers' domains, of which every second one publishes SPF.
    Customers,
}

/// A mail server of a pool.
#[derive(Debug)]
pub struct Server {
    pub address: IpAddr,
    pub host: String,
}

/// Servers that share a queue.
#[derive(Debug)]
pub struct Pool {
    /// Its line in the table.
    pub kind: &'static str,
    pub schedule: Schedule,
    pub servers: Vec<Server>,
    pub turn: Turn,
}

/// One message of a pool to one recipient.
#[derive(Debug)]
pub struct Message {
    /// Its pool's place in the plan.
    pub pool: usize,
    /// The first attempt.
    pub sent: Timestamp,
    pub sender: String,
    pub recipient: String,
    /// The domain that SPF passes for, if the sender's publishes any.
    pub spf: Option<String>,
    /// What its choices of addresses are drawn from.
    seed: u64,
}

/// All that is sent.
#[derive(Debug, Default)]
pub struct Plan {
    pub pools: Vec<Pool>,
    pub messages: Vec<Message>,
}

impl Plan {
    /// The pools as measured, and pools as administrators meet them (`facts/demands.md` 1: up to 15 addresses seen for
    /// one message, "many hosts, round robin"; 6: IPv4 and IPv6 in turn).
    pub fn new() -> Self {
        let mut draft = Draft { plan: Self::default(), networks: 0, chance: Chance(2_026) };
        for provider in measured() {
            // Which networks the addresses were in was not published: one, or each its own.
            let n = provider.addresses;
            let places: &[Place] =
                if n == 1 { &[Place::OneNetwork] } else { &[Place::OneNetwork, Place::Networks(n)] };
            for &place in places {
                draft.pools(provider.name, &[n], place, &provider.schedule, Senders::Own);
            }
        }
        for schedule in [Schedule::quick(), Schedule::exim()] {
            draft.pools("one address", &[1], Place::OneNetwork, &schedule, Senders::Own);
            draft.pools("one network", &[2, 7, 15, 40], Place::OneNetwork, &schedule, Senders::Own);
            draft.pools("2 networks", &[2, 7, 40], Place::Networks(2), &schedule, Senders::Own);
            draft.pools("5 networks", &[5, 15, 40], Place::Networks(5), &schedule, Senders::Own);
            draft.pools("15 networks", &[15, 40], Place::Networks(15), &schedule, Senders::Own);
            draft.pools("40 networks", &[40], Place::Networks(40), &schedule, Senders::Own);
            draft.pools("IPv4 and IPv6", &[2, 7, 40], Place::BothFamilies, &schedule, Senders::Own);
            draft.pools("hosting", &[40], Place::Networks(8), &schedule, Senders::Customers);
        }
        let two_tries = Schedule::two_tries();
        draft.pools("two tries, one network", &[7], Place::OneNetwork, &two_tries, Senders::Own);
        draft.pools("two tries, 5 networks", &[7], Place::Networks(5), &two_tries, Senders::Own);
        draft.plan
    }

    pub fn schedule(&self, message: usize) -> &Schedule {
        &self.pool(message).schedule
    }

    pub fn pool(&self, message: usize) -> &Pool {
        &self.pools[self.messages[message].pool]
    }

    /// The nth attempt to deliver a message, counted from 0.
    pub fn attempt(&self, message: usize, nth: usize) -> Attempt<'_> {
        let (pool, message) = (self.pool(message), &self.messages[message]);
        let first = message.seed as usize % pool.servers.len();
        let place = match pool.turn {
            Turn::Sticky => first,
            Turn::RoundRobin => (first + nth) % pool.servers.len(),
            Turn::Random => Chance(message.seed.wrapping_add(nth as u64)).below(pool.servers.len()),
        };
        let Server { address, host } = &pool.servers[place];
        let Message { sender, recipient, spf, .. } = message;
        Attempt { client: *address, sender, recipient, spf: spf.as_deref(), host }
    }
}

/// A plan in the making.
struct Draft {
    plan: Plan,
    networks: u16,
    chance: Chance,
}

impl Draft {
    /// Adds a pool of each size and turn, and its messages.
    fn pools(
        &mut self,
        kind: &'static str,
        sizes: &[usize],
        place: Place,
        schedule: &Schedule,
        senders: Senders,
    ) {
        for &size in sizes {
            // A pool of one has no turns to take, so it is there once.
            for &turn in if size == 1 { &TURNS[..1] } else { &TURNS[..] } {
                let domain = format!("pool{}.example", self.plan.pools.len());
                let servers = self.servers(&domain, size, place);
                for _ in 0..MESSAGES {
                    let message = self.message(&domain, senders);
                    self.plan.messages.push(message);
                }
                self.plan.pools.push(Pool { kind, schedule: schedule.clone(), servers, turn });
            }
        }
    }

    fn servers(&mut self, domain: &str, size: usize, place: Place) -> Vec<Server> {
        let networks = if let Place::Networks(networks) = place { networks } else { 1 };
        let base = self.networks;
        self.networks += networks as u16;
        let server = |i: usize| {
            let host = format!("out{i}.{domain}");
            let [high, low] = (base + (i % networks) as u16).to_be_bytes();
            let ipv4 = Ipv4Addr::new(10, high, low, 1 + i as u8).into();
            let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, base, i as u16, 0, 0, 0, 0x25).into();
            let is_ipv6 = matches!(place, Place::BothFamilies) && i % 2 == 1;
            Server { address: if is_ipv6 { ipv6 } else { ipv4 }, host }
        };
        (0..size).map(server).collect()
    }

    /// A message at any time of the span: every second one between two who write each other often, the others between
    /// any two.
    fn message(&mut self, domain: &str, senders: Senders) -> Message {
        let chance = &mut self.chance;
        let often = chance.below(2) == 0;
        let pair = chance.below(if often { 3 } else { LOCAL_PARTS.len() * RECIPIENTS.len() });
        let local_part = LOCAL_PARTS[pair % LOCAL_PARTS.len()];
        let recipient = RECIPIENTS[pair / LOCAL_PARTS.len()];
        let customer = pair % 8;
        let (sender_domain, has_spf) = match senders {
            Senders::Own => (domain.to_owned(), true),
            Senders::Customers => (format!("customer{customer}-of-{domain}"), customer.is_multiple_of(2)),
        };
        Message {
            pool: self.plan.pools.len(),
            sent: START.plus(Seconds(chance.below(SPAN.0 as usize) as u32)),
            sender: format!("{local_part}@{sender_domain}"),
            recipient: format!("{recipient}@here.example"),
            spf: has_spf.then_some(sender_domain),
            seed: chance.next(),
        }
    }
}

/// Words alone: what the greylisters make of numbers and tags in a sender is not compared here.
const LOCAL_PARTS: [&str; 8] = ["alice", "bruno", "carla", "dmitri", "elena", "farid", "greta", "hiroshi"];
const RECIPIENTS: [&str; 5] = ["ines", "jorge", "kemal", "lucie", "marek"];

/// SplitMix64 (Steele, Lea, Flood 2014): small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
