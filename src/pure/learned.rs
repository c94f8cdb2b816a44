//! What can be learned from first attempts: each comes back or stays away, so each is an example of what
//! clients like it do. A pattern is what is known of an attempt at RCPT; of each it is counted what became of
//! its attempts. No weights: what decides can be shown.

use crate::identity::Domain;
use crate::reply::By;
use crate::rules::Rules;
use crate::time::Seconds;
use crate::triplet::{Key, Triplet};
use crate::words;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;

words! {
    /// What is made of what came back.
    Learn {
        /// Nothing: nothing is counted.
        Off = "off",
        /// Count, and say in `would=` what it would have changed.
        Watch = "watch",
        /// Let pass at once what nearly always comes back, let wait longer what nearly never does.
        On = "on",
    }
}

words! {
    /// The client's host name.
    Host {
        /// None that Exim verified.
        None = "none",
        /// One that looks generated from the address, or a public suffix.
        Generated = "generated",
        /// One that names a domain.
        Named = "named",
    }
}

words! {
    /// The envelope sender.
    Sender {
        /// `<>`.
        Null = "null",
        /// In the domain of the host name or that SPF passed for, or below it.
        Own = "own",
        /// In another domain.
        Other = "other",
    }
}

/// The signs that a configuration allows, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignWords(Vec<String>);

/// Which signs a call has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// A bit each, in the order of the list.
    set: u8,
    /// Which list.
    list: u32,
}

/// Signs that a configuration may have: what is left of the 12 bits of a pattern.
pub const MOST_SIGNS: usize = 7;

/// Signs that a call may have.
const MOST_IN_CALL: usize = 4;

/// The longest word: a word that people use, and a line of a table.
const LONGEST_SIGN: usize = 16;

impl SignWords {
    /// A list of words, or what was expected.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn new(words: Vec<String>) -> Result<Self, String> {
        let fits = |word: &String| {
            let usual = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            (1..=LONGEST_SIGN).contains(&word.len()) && word.bytes().all(usual)
        };
        let twice = words.iter().enumerate().any(|(i, word)| words.iter().take(i).any(|w| w == word));
        if words.len() > MOST_SIGNS || twice || !words.iter().all(fits) {
            return Err(format!(
                "at most {MOST_SIGNS} different words of a-z, 0-9 and -, each of at most {LONGEST_SIGN}"
            ));
        }
        Ok(Self(words))
    }

    /// The words.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// The signs of a call: words with commas in between; empty for none.
    ///
    /// # Errors
    /// What was expected instead.
    pub fn read(&self, text: &[u8]) -> Result<Signs, String> {
        let mut signs = Signs { set: 0, list: self.number() };
        let words = text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|word| !word.is_empty());
        for (nth, word) in words.enumerate() {
            let place = self.0.iter().position(|known| known.as_bytes() == word);
            match place.filter(|_| nth < MOST_IN_CALL) {
                Some(place) => signs.set |= 1 << place,
                None => return Err(self.expected()),
            }
        }
        Ok(signs)
    }

    #[cold]
    fn expected(&self) -> String {
        if self.0.is_empty() {
            return "no sign: the configuration has no list of `signs`".into();
        }
        format!("up to {MOST_IN_CALL} of the configuration's signs: {}", self.0.join(", "))
    }

    /// Tells lists apart: what was counted with another one means nothing here.
    fn number(&self) -> u32 {
        let mut hasher = SipHasher24::new();
        self.0.iter().for_each(|word| {
            hasher.write(word.as_bytes());
            hasher.write_u8(0);
        });
        hasher.finish() as u32 & (u32::MAX >> PLACE_BITS)
    }
}

const PLACE_BITS: u32 = 12;

/// How many patterns there can be.
pub const PATTERNS: usize = 1 << PLACE_BITS;

/// What is known of an attempt at RCPT.
///
/// ```text
/// bits  0  the signs, one each
///       7  the sender: 0 null, 1 own, 2 other
///       9  the host name: 0 none, 1 generated, 2 named
///      11  SPF passed
///      12  which list the signs are of
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern(pub u32);

impl Pattern {
    /// That of a mail.
    #[must_use]
    pub fn of(triplet: &Triplet<'_>) -> Self {
        let find = |by| triplet.identities.iter().find(|identity| identity.by() == by);
        let domains = [By::Spf, By::Host].map(|by| find(by).and_then(|identity| identity.domain()));
        let [spf, named] = domains;
        let host = match (&triplet.host, named) {
            (None, None) => Host::None,
            (_, Some(_)) => Host::Named,
            (Some(_), None) => Host::Generated,
        };
        let own = |sender: &[u8]| domains.iter().flatten().any(|domain| is_within(sender, domain));
        let sender = match triplet.sender.rsplit(|&byte| byte == b'@').next() {
            _ if triplet.sender.is_empty() => Sender::Null,
            Some(domain) if own(domain) => Sender::Own,
            _ => Sender::Other,
        };
        let Signs { set, list } = triplet.signs;
        let place =
            u32::from(set) | (sender as u32) << 7 | (host as u32) << 9 | u32::from(spf.is_some()) << 11;
        Self(list << PLACE_BITS | place)
    }

    /// Where it is counted, below [`PATTERNS`].
    #[must_use]
    pub const fn place(self) -> usize {
        self.0 as usize % PATTERNS
    }

    /// The number of the list of signs.
    #[must_use]
    pub const fn list(self) -> u32 {
        self.0 >> PLACE_BITS
    }

    /// The pattern that is counted there.
    #[must_use]
    pub const fn at(list: u32, place: usize) -> Self {
        Self(list << PLACE_BITS | (place % PATTERNS) as u32)
    }

    /// In words. A sign of another list has a number.
    #[must_use]
    pub fn shown(self, words: &SignWords) -> String {
        let bits = |from: u32, count: u32| (self.0 >> from & ((1 << count) - 1)) as usize;
        let spf = if bits(11, 1) == 1 { "pass" } else { "none" };
        let host = Host::ALL.get(bits(9, 2)).map_or("?", |host| host.word());
        let sender = Sender::ALL.get(bits(7, 2)).map_or("?", |sender| sender.word());
        let ours = words.number() == self.list();
        let sign = |place: usize| match words.0.get(place).filter(|_| ours) {
            Some(word) => word.clone(),
            None => format!("{}", place + 1),
        };
        let signs: Vec<_> = (0..MOST_SIGNS).filter(|place| bits(*place as u32, 1) == 1).map(sign).collect();
        let signs = if signs.is_empty() { String::new() } else { format!(" sign={}", signs.join(",")) };
        format!("spf={spf} host={host} sender={sender}{signs}")
    }
}

/// Whether the text of a domain is this one, or below it.
fn is_within(text: &[u8], domain: &Domain) -> bool {
    let domain = domain.as_bytes();
    let Some(at) = text.len().checked_sub(domain.len()) else { return false };
    let (above, same) = text.split_at(at);
    same.eq_ignore_ascii_case(domain) && (above.is_empty() || above.ends_with(b"."))
}

/// What became of first attempts of one pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// So many came back.
    pub came_back: u16,
    /// So many did not.
    pub stayed_away: u16,
    /// So many that passed turned out to be spam.
    pub spam: u16,
    /// So many may still come back.
    pub waiting: u16,
}

/// What became of one, or that it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was seen first.
    Began,
    /// It came back in time.
    CameBack,
    /// It did not come back.
    StayedAway,
    /// Its record has gone, and nobody knows.
    Unknown,
    /// What had passed was spam.
    Spam,
}

words! {
    /// What is done with attempts of a pattern.
    Lane {
        /// As always.
        Usual = "usual",
        /// Nearly all come back: they need not.
        Fast = "fast",
        /// Nearly none do: the delay is longer.
        Slow = "slow",
    }
}

/// So many outcomes say something.
pub const ENOUGH: u32 = 200;

/// More than this share has to come back for the fast lane, and no more than the rest of it for the slow one,
/// each as far as the outcomes prove it.
const NEARLY_ALL: f64 = 0.98;

/// Counts are halved above this: a year of many sites, and it fits into 16 bits.
const MOST: u32 = 32_768;

/// The same in the fast lane. Whoever is in it and stays away from now on has left it after 1.5 per cent of
/// this, of which he sees one in [`ONE_IN`].
const MOST_IN_FAST_LANE: u32 = 2_048;

/// What is kept of those that wait, and of spam: 12 bits.
const MOST_OTHERS: u16 = 4_095;

/// One of so many has to come back in the fast lane, too, so that the counts stay true.
pub const ONE_IN: u16 = 20;

impl Tried {
    /// How many outcomes there are.
    #[must_use]
    pub const fn outcomes(&self) -> u32 {
        self.came_back as u32 + self.stayed_away as u32
    }

    /// After one more.
    #[must_use]
    pub fn and(self, outcome: Outcome) -> Self {
        let mut tried = self;
        let more = |count: &mut u16| *count = count.saturating_add(1).min(MOST_OTHERS);
        match outcome {
            Outcome::Began => more(&mut tried.waiting),
            Outcome::Spam => more(&mut tried.spam),
            Outcome::CameBack => tried.came_back = tried.came_back.saturating_add(1),
            Outcome::StayedAway => tried.stayed_away = tried.stayed_away.saturating_add(1),
            Outcome::Unknown => {}
        }
        if !matches!(outcome, Outcome::Began | Outcome::Spam) {
            tried.waiting = tried.waiting.saturating_sub(1);
        }
        let most = if tried.lane() == Lane::Fast { MOST_IN_FAST_LANE } else { MOST };
        if tried.outcomes() > most { tried.halved() } else { tried }
    }

    /// Half of everything: the rest is long ago.
    #[must_use]
    pub const fn halved(self) -> Self {
        let Self { came_back, stayed_away, spam, waiting } = self;
        Self { came_back: came_back / 2, stayed_away: stayed_away / 2, spam: spam / 2, waiting: waiting / 2 }
    }

    /// What is to be done with the next one.
    ///
    /// Those that wait may come back. For the fast lane they count as if they did not, or whoever has behaved
    /// well could do for two days what he likes; for the slow lane they do not count.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let [back, away, spam, waiting] =
            [self.came_back, self.stayed_away, self.spam, self.waiting].map(u32::from);
        if back + away < ENOUGH {
            return Lane::Usual;
        }
        if bounds(back.saturating_sub(spam), back + away + waiting).0 > NEARLY_ALL {
            return Lane::Fast;
        }
        if bounds(back, back + away).1 <= 1.0 - NEARLY_ALL { Lane::Slow } else { Lane::Usual }
    }

    /// In one number, which a damaged file seldom holds: 16 bits that came back, 16 that stayed away, 12 spam, 12
    /// that wait, 8 to check the others by.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        let Self { came_back, stayed_away, spam, waiting } = self;
        let all = u64::from(came_back)
            | u64::from(stayed_away) << 16
            | u64::from(spam.min(MOST_OTHERS)) << 32
            | u64::from(waiting.min(MOST_OTHERS)) << 44;
        all | check(all) << 56
    }

    /// What [`Tried::to_bits`] gave; `None` for any other number.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        let all = bits & (u64::MAX >> 8);
        let tried = Self {
            came_back: all as u16,
            stayed_away: (all >> 16) as u16,
            spam: (all >> 32) as u16 & MOST_OTHERS,
            waiting: (all >> 44) as u16 & MOST_OTHERS,
        };
        (bits >> 56 == check(all) && tried.outcomes() <= MOST).then_some(tried)
    }
}

const fn check(all: u64) -> u64 {
    all % 251
}

impl fmt::Display for Tried {
    /// `of 812 first attempts like this one, 803 came back`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} first attempts like this one, {} came back", self.outcomes(), self.came_back)?;
        match self.spam {
            0 => Ok(()),
            spam => write!(f, ", and {spam} were spam"),
        }
    }
}

/// Between which shares the true one lies with 95 per cent confidence, where `hits` of `all` were so (Wilson,
/// "Probable inference, the law of succession, and statistical inference", 1927).
fn bounds(hits: u32, all: u32) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let all = f64::from(all);
    let share = f64::from(hits) / all;
    let (centre, scale) = (share + Z * Z / (2.0 * all), 1.0 + Z * Z / all);
    let spread = Z * (share * (1.0 - share) / all + Z * Z / (4.0 * all * all)).sqrt();
    ((centre - spread) / scale, (centre + spread) / scale)
}

/// What has been learned for one mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// What became of those like it.
    pub tried: Tried,
    /// Whether it has to come back in the fast lane, too.
    pub is_sample: bool,
}

impl Learned {
    /// Of a first attempt with that key: which are samples, nobody can tell who does not know the store's secret.
    #[must_use]
    pub fn new(tried: Tried, key: &Key) -> Self {
        let [.., a, b, _, _] = key.0;
        Self { tried, is_sample: u16::from_le_bytes([a, b]).is_multiple_of(ONE_IN) }
    }
}

/// No queue gives up so soon, and DNS lists know of a client by then.
const LONGEST_SLOW_DELAY: Seconds = Seconds::HOUR.times(4);

/// The delay of the slow lane: four times as long, so that DNS lists have time to learn of the client. Mail is not
/// lost by it: the better half of the window is left.
#[must_use]
pub fn slow_delay(rules: &Rules) -> Seconds {
    let longer = rules.delay.0.saturating_mul(4).min(LONGEST_SLOW_DELAY.0).min(rules.window.0 / 2);
    Seconds(longer.max(rules.delay.0))
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
