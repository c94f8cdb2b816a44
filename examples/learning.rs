//! Prints what learning comes to with labelled traffic: `make learning`. `tests/learning/assumptions.rs` has all that is
//! assumed.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    missing_docs,
    reason = "a report from a simulation"
)]

#[path = "../tests/learning/mod.rs"]
mod learning;

use learning::adversary::{BAD, GOOD, Looks, passed};
use learning::assumptions::LISTED;
use learning::{Figures, Site, Traffic, run};

const ENDS: [usize; 3] = [1_000, 10_000, 100_000];

fn main() {
    println!(
        "{:<34}{:>9}{:>8}{:>8}{:>9}{:>10}{:>9}",
        "messages", "delayed", "median", "lost", "at once", "spam", "would"
    );
    for (learn, feedback) in [("off", true), ("watch", true), ("on", true), ("on", false)] {
        let mut all = run(&mut Site::new(learn, feedback), &mut Traffic::new(LISTED), &ENDS);
        let name = format!("{learn}{}", if feedback { "" } else { ", no feedback" });
        let mut from = 0;
        for (end, figures) in ENDS.iter().zip(&mut all) {
            println!("{}", line(&format!("{name}: {from} to {end}"), figures));
            from = *end;
        }
    }
    println!("\nspammers with a mail server that a DNS list knows; on, messages 10000 to 40000");
    for listed in [980, LISTED, 900, 800, 500] {
        for feedback in [true, false] {
            let mut all = run(&mut Site::new("on", feedback), &mut Traffic::new(listed), &[10_000, 40_000]);
            let name = format!("{}%{}", listed / 10, if feedback { "" } else { ", no feedback" });
            println!("{}", line(&name, &mut all[1]));
        }
    }
    println!("\nan adversary: {GOOD} mails come back, then {BAD} in an hour do not; passed at once");
    for (looks, name) in [(Looks::Alone, "who looks like nobody else"), (Looks::Honest, "who looks honest")] {
        let [with, without] = [true, false].map(|feedback| passed(looks, feedback, BAD));
        println!("  {name:<32}{with:>7}, without feedback {without:>7}");
    }
}

/// Shares of the honest messages, then of the spam.
fn line(name: &str, figures: &mut Figures) -> String {
    let percent = |part: usize, of: usize| format!("{:.2}%", 100.0 * part as f64 / of.max(1) as f64);
    let (median, honest, spam) = (figures.median(), figures.honest, figures.spam);
    format!(
        "  {name:<32}{:>9}{:>8}{:>8}{:>9}{:>10}{:>9}",
        percent(figures.honest_delayed, honest),
        median.to_string(),
        percent(figures.honest_lost, honest),
        percent(figures.spam_at_once, spam),
        percent(figures.spam_passed, spam),
        figures.would_pass,
    )
}
