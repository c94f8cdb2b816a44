//! The figures of each kind of pool and greylister, and the table.

use super::plan::Plan;
use super::{Delay, Greylister, deliver};
use eximgrey::time::Seconds;
use std::fmt::{self, Write as _};

/// What a greylister did to a plan.
pub struct Run {
    pub greylister: &'static str,
    /// One a message.
    pub delays: Vec<Delay>,
}

impl Run {
    pub fn of(plan: &Plan, greylister: &mut dyn Greylister) -> Self {
        Self { greylister: greylister.name(), delays: deliver(plan, greylister, |_, _, _| {}) }
    }

    /// The figures of the messages that `wanted` holds for.
    pub fn figures(&self, wanted: impl Fn(usize) -> bool) -> Figures {
        Figures::of(
            (0..self.delays.len()).filter(|message| wanted(*message)).map(|message| self.delays[message]),
        )
    }
}

/// The time to delivery, longest last: a message that is never delivered took longer than any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    For(Seconds),
    Never,
}

const AT_ONCE: Wait = Wait::For(Seconds(0));

impl Wait {
    pub fn of(delay: Delay) -> Self {
        delay.map_or(Self::Never, Self::For)
    }
}

/// What became of some messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    pub messages: usize,
    /// Deferred at least once.
    pub delayed: usize,
    pub never: usize,
    /// Of those delayed.
    pub median: Wait,
    /// Of those delivered.
    pub worst: Wait,
    /// Of all: 95 in 100 took no longer.
    pub most: Wait,
}

impl Figures {
    fn of(delays: impl Iterator<Item = Delay>) -> Self {
        let mut all: Vec<Wait> = delays.map(Wait::of).collect();
        all.sort_unstable();
        let (_, delayed) = all.split_at(all.partition_point(|wait| *wait == AT_ONCE));
        let (delivered, never) = all.split_at(all.partition_point(|wait| *wait != Wait::Never));
        Self {
            messages: all.len(),
            delayed: delayed.len(),
            never: never.len(),
            median: rank(delayed, 50),
            worst: rank(delivered, 100),
            most: rank(&all, 95),
        }
    }
}

/// The shortest of `sorted` that is at least as long as so many in 100 of them.
fn rank(sorted: &[Wait], percent: usize) -> Wait {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(AT_ONCE)
}

/// The kinds of the plan's pools, in its order.
pub fn kinds(plan: &Plan) -> Vec<&'static str> {
    let mut kinds: Vec<&str> = Vec::new();
    for pool in &plan.pools {
        if !kinds.contains(&pool.kind) {
            kinds.push(pool.kind);
        }
    }
    kinds
}

/// The whole table: a block a kind, a line a greylister, and all kinds together.
pub fn table(plan: &Plan, runs: &[Run]) -> String {
    let mut text = String::new();
    let mut block = |title: &str, wanted: &dyn Fn(usize) -> bool| {
        let messages = (0..plan.messages.len()).filter(|message| wanted(*message)).count();
        let title = format!("{title} ({messages} messages)");
        let _ = writeln!(text, "{title:38} delayed   median    worst   95 in 100    never");
        for run in runs {
            let _ = writeln!(text, "  {:36} {}", run.greylister, run.figures(wanted));
        }
        text.push('\n');
    };
    for kind in kinds(plan) {
        block(kind, &|message| plan.pool(message).kind == kind);
    }
    block("all", &|_| true);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: usize| 100.0 * part as f64 / self.messages.max(1) as f64;
        let Self { median, worst, most, .. } = self;
        let (delayed, never) = (share(self.delayed), share(self.never));
        write!(f, "{delayed:6.1}% {median:>8} {worst:>8} {most:>11} {never:>7.1}%")
    }
}

impl fmt::Display for Wait {
    /// To the second below an hour, to the minute above.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::For(Seconds(seconds)) = *self else {
            return f.pad("never");
        };
        if seconds == 0 {
            return f.pad("none");
        }
        let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
        let text = if hours > 0 {
            format!("{hours}h{minutes:02}m")
        } else {
            format!("{minutes}m{:02}s", seconds % 60)
        };
        f.pad(&text)
    }
}
