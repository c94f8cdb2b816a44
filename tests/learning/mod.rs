//! Labelled traffic, from the arguments of a call to the store, with learning off, watched and on. `make learning` prints
//! what it comes to, `tests/learning.rs` holds a short run to what we promise.

pub mod adversary;
pub mod assumptions;
#[path = "../pools/schedule.rs"]
pub mod schedule;

use assumptions::{
    FILTER_FINDS, FROM_NEW_DOMAINS, Kind, MESSAGES_A_DAY, Retries, SECOND_TRY, SEED, SIGNS, kinds, queues,
};
use eximgrey::memory::Access;
use eximgrey::reply::{Action, Reason, Reply};
use eximgrey::session::Session;
use eximgrey::time::{Seconds, Timestamp};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tempfile::TempDir;

pub const START: Timestamp = Timestamp(1_767_225_600);

/// Numbers by chance, the same in every run (SplitMix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as usize % limit
    }

    fn thousandths(&mut self, many: usize) -> bool {
        self.below(1_000) < many
    }

    /// One of the kinds, by their shares, which are 1,000.
    fn kind<'k>(&mut self, kinds: &'k [Kind]) -> &'k Kind {
        let mut left = self.below(kinds.iter().map(|kind| kind.share).sum());
        let found = kinds.iter().find(|kind| {
            let is_it = left < kind.share;
            left = left.wrapping_sub(kind.share);
            is_it
        });
        found.expect("a kind")
    }
}

/// A number in letters: digits in senders are masked.
pub fn letters(mut number: usize) -> String {
    let mut text = String::new();
    loop {
        text.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return text;
        }
    }
}

/// A message, with what Exim knows of its client.
pub struct Message {
    pub is_spam: bool,
    pub arguments: Vec<String>,
    /// Seconds from the first attempt.
    pub retries: Vec<Seconds>,
    /// Whether the content filter knows it for spam.
    pub is_found: bool,
}

/// An address of its own network.
pub fn address(network: usize) -> String {
    let [_, a, b, c] = (network as u32).to_be_bytes();
    format!("{}.{b}.{c}.9", 11 + a)
}

/// Messages of the kinds, in the order of time.
pub struct Traffic {
    kinds: Vec<Kind>,
    queues: Vec<schedule::Schedule>,
    chance: Chance,
    count: usize,
    /// The honest domains that have written: kind, network, host and SPF stay the same.
    domains: Vec<(usize, Vec<String>)>,
}

impl Traffic {
    pub fn new(listed: usize) -> Self {
        Self { kinds: kinds(listed), queues: queues(), chance: Chance(SEED), count: 0, domains: Vec::new() }
    }

    pub fn next(&mut self) -> Message {
        let Self { kinds, queues, chance, count, domains } = self;
        *count += 1;
        let kind = chance.kind(kinds);
        let place = kinds.iter().position(|other| other.name == kind.name).expect("its place");
        let again = !kind.is_spam && chance.below(100) >= FROM_NEW_DOMAINS;
        let known: Vec<_> = domains.iter().filter(|(of, _)| again && *of == place).collect();
        let client = match known.is_empty() {
            false => known[chance.below(known.len())].1.clone(),
            true => {
                let client = client(kind, *count, chance);
                if !kind.is_spam {
                    domains.push((place, client.clone()));
                }
                client
            }
        };
        let [network, domain, options @ ..] = client.as_slice() else { panic!("a network and a domain") };
        let sender = format!("{}@{domain}", letters(*count));
        let recipient = format!("{}@here.example", letters(chance.below(500)));
        let signs: Vec<_> =
            SIGNS.iter().zip(kind.signs).filter(|(_, share)| chance.thousandths(*share)).collect();
        let signs: Vec<_> = signs.iter().map(|(word, _)| **word).collect();
        let signs = format!("sign={}", signs.join(","));
        let retries = match kind.retries {
            Retries::Queue(never) if !chance.thousandths(never) => {
                let queue = &queues[chance.below(queues.len())];
                (0..).map_while(|nth| queue.retry(nth)).collect()
            }
            Retries::Once => vec![SECOND_TRY[chance.below(SECOND_TRY.len())]],
            Retries::Queue(_) | Retries::Never => Vec::new(),
        };
        let arguments = [network.clone(), sender, recipient, signs].into_iter().chain(options.to_vec());
        Message {
            is_spam: kind.is_spam,
            arguments: arguments.collect(),
            retries,
            is_found: kind.is_spam && chance.below(100) < FILTER_FINDS,
        }
    }
}

/// Its network, its domain, and what Exim verified.
fn client(kind: &Kind, number: usize, chance: &mut Chance) -> Vec<String> {
    let (network, domain) = (address(number), format!("{}.example", letters(number)));
    let mut client = vec![network.clone(), domain.clone()];
    if chance.thousandths(kind.spf) {
        client.push(format!("spf={domain}"));
    }
    let [own, other, generated] = kind.host;
    let host = match chance.below(1_000) {
        n if n < own => format!("mx.{domain}"),
        n if n < own + other => format!("mx.host{}.example", letters(number)),
        n if n < own + other + generated => format!("{}.pool.example", network.replace('.', "-")),
        _ => return client,
    };
    client.push(format!("host={host}"));
    client
}

/// A store with a way of learning.
pub struct Site {
    session: Session,
    config: String,
    pub feedback: bool,
    _directory: TempDir,
}

impl Site {
    pub fn new(learn: &str, feedback: bool) -> Self {
        // Nothing here is about the disk, and each pass is flushed to it.
        let in_memory = tempfile::tempdir_in("/dev/shm");
        let directory = in_memory.or_else(|_| tempfile::tempdir()).expect("a temporary directory");
        let (store, config) = (directory.path().join("store"), directory.path().join("eximgrey.toml"));
        std::fs::create_dir(&store).expect("a directory for the store");
        let settings = format!("store = {store:?}\nlearn = {learn:?}\nsigns = {SIGNS:?}\n");
        std::fs::write(&config, settings).expect("a configuration");
        let config = format!("config={}", config.display());
        Self { session: Session::new(), config, feedback, _directory: directory }
    }

    /// Answers an attempt; the content filter looks at what passes.
    pub fn ask(&mut self, message: &Message, now: Timestamp) -> Reply {
        let words: Vec<_> =
            message.arguments.iter().chain([&self.config]).map(|word| word.as_bytes()).collect();
        let reply = self.session.answer(&words, Access::Record, now).unwrap_or_else(|e| panic!("{e}"));
        // Trouble lets mail pass: it must not look like a good result.
        assert_ne!(reply.reason, Reason::Error, "{reply}");
        if reply.action == Action::Pass && message.is_found && self.feedback {
            let words = [&words[..3], &[&b"spam"[..]], &words[3..]].concat();
            self.session.feedback(&words, Access::Record, now).unwrap_or_else(|e| panic!("{e}"));
        }
        reply
    }
}

/// What became of some messages.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub honest: usize,
    pub honest_delayed: usize,
    pub honest_lost: usize,
    /// Of the honest ones that were delayed and delivered.
    waits: Vec<Seconds>,
    pub spam: usize,
    /// Passed at its first attempt.
    pub spam_at_once: usize,
    /// Passed at all.
    pub spam_passed: usize,
    /// First attempts that with `on` would have passed.
    pub would_pass: usize,
}

impl Figures {
    pub fn median(&mut self) -> Seconds {
        self.waits.sort();
        self.waits.get(self.waits.len() / 2).copied().unwrap_or_default()
    }

    /// The share of honest messages that were delayed.
    pub fn delayed(&self) -> f64 {
        self.honest_delayed as f64 / self.honest.max(1) as f64
    }

    /// The share of spam that passed at its first attempt.
    pub fn at_once(&self) -> f64 {
        self.spam_at_once as f64 / self.spam.max(1) as f64
    }
}

/// Runs traffic up to each of these numbers of messages, and says what became of those since the number before.
pub fn run(site: &mut Site, traffic: &mut Traffic, ends: &[usize]) -> Vec<Figures> {
    let mut figures = vec![Figures::default(); ends.len()];
    let mut due: BinaryHeap<Reverse<(Timestamp, usize, usize)>> = BinaryHeap::new();
    let mut messages = Vec::new();
    let last = ends.last().copied().unwrap_or_default();
    let sent = |nth: usize| START.plus(Seconds((nth as u64 * 86_400 / u64::from(MESSAGES_A_DAY)) as u32));
    loop {
        let next = messages.len();
        let is_new = next < last && due.peek().is_none_or(|Reverse((time, ..))| sent(next) <= *time);
        let (now, place, nth) = match is_new {
            true => {
                messages.push(traffic.next());
                (sent(next), next, 0)
            }
            false => match due.pop() {
                Some(Reverse(due)) => due,
                None => return figures,
            },
        };
        let message = &messages[place];
        let reply = site.ask(message, now);
        let of = ends.iter().position(|end| place < *end).expect("one of them");
        let of = &mut figures[of];
        let passes = reply.action == Action::Pass;
        of.would_pass += usize::from(!passes && reply.would == Some(Action::Pass));
        match (message.is_spam, passes) {
            (true, true) => {
                of.spam_passed += 1;
                of.spam_at_once += usize::from(nth == 0);
            }
            (false, true) if nth > 0 => of.waits.push(now.since(sent(place))),
            (false, false) if nth == 0 => of.honest_delayed += 1,
            _ => {}
        }
        if nth == 0 {
            *(if message.is_spam { &mut of.spam } else { &mut of.honest }) += 1;
        }
        match message.retries.get(nth).filter(|_| !passes) {
            Some(after) => due.push(Reverse((sent(place).plus(*after), place, nth + 1))),
            None => of.honest_lost += usize::from(!passes && !message.is_spam),
        }
    }
}
