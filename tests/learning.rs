//! What learning comes to with labelled traffic, in a short run; `make learning` prints a long one. docs/learning.md
//! explains it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    missing_docs,
    reason = "a simulation that also serves the report"
)]

#[path = "learning/mod.rs"]
mod learning;

use learning::adversary::{GOOD, Looks, passed};
use learning::assumptions::LISTED;
use learning::{Figures, Site, Traffic, run};

/// With what has been seen of 10,000 first attempts, at most half as many honest ones wait as without, and no more than one
/// spam of a hundred passes at once.
#[test]
fn learning_halves_what_waits_and_lets_hardly_any_spam_in() {
    let [off, on] = ["off", "on"].map(|learn| run_of(learn, &[10_000, 13_000]).remove(1));
    assert!(on.delayed() <= off.delayed() / 2.0, "{on:?} {off:?}");
    assert!(on.at_once() <= 0.01 && on.honest_lost <= off.honest_lost, "{on:?} {off:?}");
}

#[test]
fn watching_changes_nothing() {
    let [off, watch] = ["off", "watch"].map(|learn| run_of(learn, &[6_000]).remove(0));
    let became = |it: &Figures| (it.honest_delayed, it.honest_lost, it.spam_at_once, it.spam_passed);
    assert_eq!(became(&watch), became(&off));
    assert!(off.would_pass == 0 && watch.would_pass > 0, "{watch:?}");
}

/// 500 mails that come back are worth fewer than 500 that do not.
#[test]
fn who_behaves_well_in_order_to_be_let_through_is_not_for_long() {
    for (looks, feedback) in [(Looks::Alone, true), (Looks::Alone, false), (Looks::Honest, false)] {
        let passed = passed(looks, feedback, 2_000);
        assert!(passed <= GOOD, "{passed}");
    }
}

fn run_of(learn: &str, ends: &[usize]) -> Vec<Figures> {
    run(&mut Site::new(learn, true), &mut Traffic::new(LISTED), ends)
}
