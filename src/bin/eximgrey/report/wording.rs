//! The words and numbers that the text and the page share.

use super::busiest::{Class, List, Scanned};
use super::figures::{Counts, Figures, Period, Shorter, Wait, Whitepaper};
use crate::learned::Line;
use crate::output::{bytes, count, span, word};
use eximgrey::reply::Reason;
use eximgrey::time::{Seconds, Timestamp};

/// A number with its thousands apart: `12,340`.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage; `-` where there is nothing to be a share of.
pub fn percent(share: Option<f64>) -> String {
    match share.map(|share| share * 100.0) {
        None => "-".into(),
        Some(percent) if percent > 0.0 && percent < 0.05 => "<0.1 %".into(),
        // What is not all of it is not called so.
        Some(percent) if (99.95..100.0).contains(&percent) => ">99.9 %".into(),
        Some(percent) => format!("{percent:.1} %"),
    }
}

/// A wait as exactly as the buckets tell it.
pub fn wait(wait: Option<Wait>) -> String {
    match wait {
        None => "-".into(),
        Some(Wait::UpTo(wait)) => span(wait),
        Some(Wait::Over(wait)) => format!("more than {}", span(wait)),
    }
}

/// Of fewer outcomes a share says little.
const FEWEST: u32 = 20;

/// Patterns that are shown of the best, and of the worst.
const BEST: usize = 5;

/// The patterns that came back most, then those that did least: as many of each, where there are more.
pub fn best_and_worst(learned: &[Line]) -> Vec<&Line> {
    let said: Vec<_> = learned.iter().filter(|line| line.tried.outcomes() >= FEWEST).collect();
    let worst = said.len().saturating_sub(BEST).max(BEST);
    said.iter()
        .enumerate()
        .filter(|(place, _)| *place < BEST || *place >= worst)
        .map(|(_, line)| *line)
        .collect()
}

/// How long half, nine tenths and nearly all retries had waited; nothing where none had.
pub fn waits(counts: &Counts) -> Option<String> {
    let within = |share| Some(within(counts.wait(share)?));
    Some(format!("half {}, 90 % {}, 99 % {}", within(0.5)?, within(0.9)?, within(0.99)?))
}

/// So many should pass at their first retry.
pub const NEARLY_ALL: f64 = 0.95;

/// How many passed at their first retry, and which delay would have let nearly all: no sentence where none came back.
pub fn first_retry(counts: &Counts) -> Vec<String> {
    let passed = |share| format!("{} of it passed at its first retry.", percent(Some(share)));
    let shorter = |Shorter { delay, share, besides }: Shorter| {
        format!(
            "A delay of {} would have made that {}, and let in {} that did not come back.",
            span(delay),
            percent(Some(share)),
            count(besides, "mail")
        )
    };
    let shorter = counts.shorter_delay(NEARLY_ALL).map(shorter);
    counts.at_first_retry().map(passed).into_iter().chain(shorter).collect()
}

fn within(bound: Wait) -> String {
    let before = if matches!(bound, Wait::UpTo(_)) { "within " } else { "after " };
    format!("{before}{}", wait(Some(bound)))
}

/// Why mail passed at once.
pub const fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Known => "the same sender and recipient passed before",
        Reason::Auto => "the client has proved itself",
        Reason::Whitelisted => "on the whitelist",
        Reason::Replied => "an answer to mail of ours",
        Reason::Released => "released by the administrator",
        Reason::Likely => "nearly all like it came back",
        _ => reason.word(),
    }
}

/// A bucket of the waits: `5m to 10m`.
pub fn bucket(from: Seconds, to: Option<Seconds>) -> String {
    match to {
        None => format!("over {}", span(from)),
        Some(to) if from == Seconds(0) => format!("up to {}", span(to)),
        Some(to) => format!("{} to {}", span(from), span(to)),
    }
}

/// `2026-11-27 16:40`, in UTC.
pub fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    format!("{} {}", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
}

/// The name of a row of a table over time.
pub fn row(time: Timestamp, step: Seconds) -> String {
    if step < Seconds::DAY { minute(time) } else { minute(time).get(..10).unwrap_or_default().into() }
}

/// How far apart rows are: `hour`, `6 hours`, `day`, `4 weeks`.
pub fn step(step: Seconds) -> String {
    match step.0 {
        3_600 => "hour".into(),
        86_400 => "day".into(),
        604_800 => "week".into(),
        span if span.is_multiple_of(604_800) => format!("{} weeks", span / 604_800),
        span => format!("{} hours", span / 3_600),
    }
}

/// Of what time the report is.
pub fn period(Period { asked, from, to }: Period) -> String {
    format!("the last {}: {} to {} UTC", span(asked), minute(from), minute(to))
}

/// What matters most, in a sentence.
pub fn headline(counts: &Counts) -> String {
    let (first, back) = (counts.first_attempts(), counts.came_back());
    if counts.total() == 0 {
        return "Nothing was decided in this time.".into();
    }
    let after = counts.wait(0.5).map(|median| format!(", half {}", within(median)));
    format!(
        "{} first attempt{}; {} came back{}; {} never came back.",
        number(first),
        if first == 1 { "" } else { "s" },
        number(back),
        after.unwrap_or_default(),
        number(counts.never_came_back)
    )
}

/// What class of mail a list is of.
pub const fn heading(class: Class) -> &'static str {
    match class {
        Class::Waiting => "Waiting for the end of their delay",
        Class::NotBack => "Deferred and not back yet",
        Class::Passed => "Came back and passed",
        Class::Known => "Known, and seen in this time",
        Class::Auto => "Proved clients, by their passes",
    }
}

pub const fn column(list: List) -> &'static str {
    match list {
        List::Networks => "Client networks",
        List::Domains => "Client domains (SPF, DKIM, host)",
        List::Senders => "Sender domains",
        List::Recipients => "Recipient domains",
    }
}

/// A text of the store, escaped.
pub fn shown(text: &[u8]) -> String {
    // The null sender is ours.
    word(text).to_string()
}

type Cell = fn(&Whitepaper) -> String;

/// The rows of the table.
pub fn whitepaper_rows() -> [(&'static str, Cell); 8] {
    [
        ("first attempts", |it| number(it.triplets)),
        ("of these, never passed (effectiveness)", |it| percent(it.effective)),
        ("mail that passed", |it| number(it.passed)),
        ("of this, had to wait", |it| number(it.delayed)),
        ("share that had to wait", |it| percent(it.delayed_share)),
        ("the same, where more mail followed", |it| percent(it.delayed_again_share)),
        ("saved: 5,000 bytes for each that never passed", |it| bytes(it.bytes_saved)),
        ("spent: 500 bytes for each that had to wait", |it| bytes(it.bytes_spent)),
    ]
}

/// How the figures came about, and what they cannot tell.
pub fn notes(figures: &Figures) -> Vec<String> {
    let Figures { site, counted, scanned, period, .. } = figures;
    let mut notes = vec![format!(
        "What is counted is recipients. Whether a first attempt comes back shows within the retry window ({}), so \
         those that never came back were made up to that much earlier.",
        site.window
    )];
    if site.made >= period.from {
        notes.push(format!("The store was made in this time, at {} UTC.", minute(site.made)));
    }
    match counted {
        None => notes.push(
            "The counters cannot be used (see eximgrey doctor): only what the store holds is shown.".into(),
        ),
        Some(counted) if counted.total.would_defer > 0 => notes.push(format!(
            "{} only observed (mode = \"observe\"): they passed, and would have been deferred.",
            match counted.total.would_defer {
                1 => "1 decision was".into(),
                many => format!("{} decisions were", number(many)),
            }
        )),
        Some(_) => {}
    }
    let would_pass = counted.as_ref().map_or(0, |counted| counted.total.would_pass);
    if would_pass > 0 {
        notes.push(format!(
            "With learn = \"on\", {} would have passed at once: nearly all like them came back.",
            count(would_pass, "first attempt")
        ));
    }
    if site.privacy || scanned.without_texts > 0 {
        notes.push(format!(
            "The store keeps no addresses (privacy = true): {} without texts are in no list.",
            count(scanned.without_texts, "record")
        ));
    }
    let lost = most_lost(scanned);
    if lost > 0 {
        notes.push(format!(
            "There are more networks or domains than are counted one by one: figures with \"at least\" may be up to {} higher.",
            number(lost)
        ));
    }
    if scanned.unreadable > 0 {
        notes.push(format!("{} of another version left out.", count(scanned.unreadable, "record")));
    }
    notes
}

fn most_lost(scanned: &Scanned) -> u64 {
    let tops = Class::ALL.iter().flat_map(|class| List::ALL.iter().map(|list| scanned.top(*class, *list)));
    tops.flatten().map(super::busiest::Top::lost).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(
            [0, 999, 1_000, 12_340, 1_234_567].map(number),
            ["0", "999", "1,000", "12,340", "1,234,567"]
        );
        assert_eq!(
            [None, Some(0.0), Some(0.0001), Some(0.1234), Some(0.9999), Some(1.0)].map(percent),
            ["-", "0.0 %", "<0.1 %", "12.3 %", ">99.9 %", "100.0 %"]
        );
        assert_eq!(
            [3_600, 21_600, 86_400, 604_800, 2_419_200].map(|s| step(Seconds(s))),
            ["hour", "6 hours", "day", "week", "4 weeks"]
        );
    }
}
