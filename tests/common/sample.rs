//! A store as a mail host has it after some weeks, made at once: for tests of reports, their picture, and measurements. The
//! same numbers give the same store. All names and networks are of those that are reserved for examples and measurements.
#![allow(dead_code, reason = "each program uses a part")]

use eximgrey::evidence::{Earned, Known, Pending};
use eximgrey::reply::{By, Fault, Reason, Reply};
use eximgrey::store::lmdb::{Env, Patience};
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Key;

/// How much there is.
#[derive(Clone, Copy)]
pub struct Sample {
    /// First attempts that wait or have not come back.
    pub pending: u64,
    /// Triplets that are known.
    pub known: u64,
    /// Days of decisions.
    pub days: u32,
    /// Decisions an hour, about.
    pub decisions: u64,
}

/// What fills every part of a report in a moment.
pub const SMALL: Sample = Sample { pending: 3_000, known: 1_500, days: 8, decisions: 60 };

impl Sample {
    /// About so many records. Of ten six are of first attempts; a triplet has a record and two thirds.
    pub fn of(records: u64) -> Self {
        Self {
            pending: records * 6 / 10,
            known: records * 24 / 100,
            days: 35,
            decisions: (records / 10).min(4_000),
        }
    }
}

/// Numbers that look random and are always the same (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of so many, the first far more often than the last.
    fn uneven(&mut self, many: u64) -> u64 {
        ((many as f64).powf(self.share()) as u64).saturating_sub(1)
    }

    /// How long a mail server waits, as measurements have it.
    fn wait(&mut self) -> Seconds {
        let steps = [
            (0.34, 302_u32, 380_u32),
            (0.60, 380, 700),
            (0.76, 700, 1_260),
            (0.91, 1_260, 2_300),
            (0.972, 2_300, 5_400),
            (0.994, 5_400, 20_000),
            (1.0, 70_000, 100_000),
        ];
        let share = self.share();
        let (_, least, most) = steps.into_iter().find(|(up_to, ..)| share <= *up_to).unwrap();
        Seconds(least + self.below(u64::from(most - least)) as u32)
    }
}

fn name(number: u64, syllables: u64) -> String {
    let mut dice = Dice(number.wrapping_mul(77) + 5);
    let mut text = String::new();
    for _ in 0..syllables + dice.below(2) {
        text.push(b"bdfgklmnprstvw"[dice.below(14) as usize].into());
        text.push(b"aeiou"[dice.below(5) as usize].into());
    }
    text
}

/// A client network: every third is IPv6.
fn network(number: u64) -> String {
    if number.is_multiple_of(3) {
        format!("2001:db8:{:x}:{:x}::/64", number >> 8 & 0xffff, number & 0xff)
    } else {
        format!("198.{}.{}.0/24", 18 + (number >> 8) % 2, number & 0xff)
    }
}

/// Fills a new store; its last hour is that of `now`.
pub fn fill(store: &Store, sample: Sample, now: Timestamp) {
    let mut dice = Dice(sample.known ^ sample.pending << 1);
    let recipients = 2 + sample.known / 2_000;
    let mut known = Vec::new();
    let texts = |identity: String, sender: String, recipient: String| Texts {
        identity: identity.into(),
        sender: sender.into(),
        recipient: recipient.into(),
        cut: false,
    };
    let key = |dice: &mut Dice| Key((u128::from(dice.roll()) << 64 | u128::from(dice.roll())).to_be_bytes());
    for _ in 0..sample.known {
        let sender = dice.uneven(2 + sample.known / 20);
        let domain = format!("{}.example", name(sender, 2));
        let from = format!("{}@{domain}", name(dice.below(5_000), 3));
        let to = format!("{}@{}.example.net", name(dice.below(500), 3), name(dice.uneven(recipients), 2));
        let passed = Timestamp(now.0 - dice.below(30 * 86_400) as u32);
        let first_seen = Timestamp(passed.0 - dice.wait().0);
        let stays = dice.below(3) > 0;
        let last_seen =
            if stays { Timestamp(passed.0 + dice.below((now.0 - passed.0).into()) as u32) } else { passed };
        let facts = Facts::Known(Known { first_seen, passed, last_seen, counted: 1 });
        let expires = last_seen.plus(Seconds::DAY.times(38));
        let first = key(&mut dice);
        let record =
            |by, identity| Record { by, expires, facts, texts: texts(identity, from.clone(), to.clone()) };
        known.push((first, record(By::Network, network(sender))));
        if dice.below(3) > 0 {
            let mut second = first;
            second.0[15] ^= 1;
            known.push((second, record(By::Spf, domain)));
        }
    }
    for number in 0..sample.known / 40 {
        let earned = Earned {
            passes: 1 + dice.uneven(400) as u32,
            first_seen: Timestamp(now.0 - 20 * 86_400),
            counted: now,
            last_seen: now,
            ..Earned::default()
        };
        let (by, identity) = match number % 2 {
            0 => (By::Network, network(number / 2)),
            _ => (By::Spf, format!("{}.example", name(number / 2, 2))),
        };
        let texts = Texts { identity: identity.into(), ..Texts::default() };
        let expires = now.plus(Seconds::DAY.times(38));
        known.push((key(&mut dice), Record { by, expires, facts: Facts::Identity(earned), texts }));
    }
    write(store.environment(Table::Known).unwrap(), known);

    let mut pending = Vec::new();
    while (pending.len() as u64) < sample.pending {
        let from = format!(
            "{}@{}.example",
            name(dice.below(100_000), 3),
            name(1_000 + dice.uneven(sample.pending), 3)
        );
        let to = format!("{}@{}.example.net", name(dice.below(500), 3), name(dice.uneven(recipients), 2));
        let first_seen = Timestamp(now.0 - dice.below(2 * 86_400) as u32);
        let first = key(&mut dice);
        // Some try from one network after the other.
        let networks = if dice.below(400) == 0 { 3 + dice.below(9) } else { 1 };
        let of = dice.uneven(40_000) + 7_000;
        for place in 0..networks {
            let mut key = first;
            key.0[15] = place as u8;
            let facts = Facts::Pending {
                record: Pending { first_seen, passed: None },
                ripe: first_seen.plus(Seconds(300)),
                network: of as u32,
            };
            let expires = first_seen.plus(Seconds::DAY.times(2));
            let texts = texts(network(of + place), from.clone(), to.clone());
            pending.push((key, Record { by: By::Network, expires, facts, texts }));
        }
    }
    write(store.environment(Table::Pending).unwrap(), pending);
    count(store, sample, now, &mut dice);
}

fn write(env: &Env, mut records: Vec<(Key, Record)>) {
    records.sort_by_key(|(key, _)| *key);
    for some in records.chunks(20_000) {
        env.write(Patience::None, |writer| {
            some.iter().try_for_each(|(key, record)| Ok(writer.put(&key.0, &record.encode())?))
        })
        .unwrap();
    }
}

/// Decisions, more by day than by night, and a flood now and then.
fn count(store: &Store, Sample { days, decisions, .. }: Sample, now: Timestamp, dice: &mut Dice) {
    let counters = store.counters().expect("counters");
    let hours = days * 24;
    for back in (0..hours).rev() {
        let hour = Timestamp(now.0 - back * 3_600);
        let of_day = f64::from(hour.0 / 3_600 % 24);
        let weekend = matches!((hour.0 / 86_400 + 4) % 7, 0 | 6);
        let light = 0.55 - 0.45 * ((of_day - 1.0) / 24.0 * std::f64::consts::TAU).cos();
        let honest = decisions as f64 * light * if weekend { 0.5 } else { 1.0 } * (0.9 + 0.2 * dice.share());
        let flood = if back % 61 > 56 { 2.2 } else { 1.0 };
        let spam = decisions as f64 * 0.35 * flood * (0.8 + 0.4 * dice.share());
        let mut say = |reason, many: f64| {
            for _ in 0..many as u64 {
                let delay = (reason == Reason::Retried).then(|| dice.wait());
                counters.count(&Reply { delay, ..Reply::new(reason) }, hour);
            }
        };
        say(Reason::New, spam + honest * 0.045);
        say(Reason::Early, spam * 0.06);
        say(Reason::Retried, honest * 0.04);
        say(Reason::Known, honest * 0.62);
        say(Reason::Auto, honest * 0.27);
        say(Reason::Replied, honest * 0.03);
        say(Reason::Whitelisted, honest * 0.02);
        say(Reason::Released, if back % 50 == 7 { 2.0 } else { 0.0 });
        say(Reason::Trapped, if back % 61 > 54 { spam * 0.05 } else { 0.0 });
        if back == 30 {
            (0..3).for_each(|_| counters.count(&Reply::error(Fault::StoreLock), hour));
        }
    }
}
