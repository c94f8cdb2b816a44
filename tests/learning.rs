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

/// What became of the messages behind the first 10,000.
fn later(learn: &str) -> Figures {
    run(&mut Site::new(learn, true), &mut Traffic::new(LISTED), &[10_000, 12_000]).remove(1)
}

/// With what has been seen of 10,000 first attempts, at most half as many honest ones wait as without, and no more than one
/// spam of a hundred passes at once; watching changes nothing, and says so.
#[test]
fn learning_halves_what_waits_and_lets_hardly_any_spam_in() {
    let [off, watch, on] = ["off", "watch", "on"].map(later);
    assert!(on.delayed() <= off.delayed() / 2.0, "{on:?} {off:?}");
    assert!(on.at_once() <= 0.01, "{on:?}");
    assert!(on.honest_lost <= off.honest_lost, "{on:?} {off:?}");
    assert_eq!(
        (watch.delayed(), watch.spam_passed, watch.honest_lost),
        (off.delayed(), off.spam_passed, off.honest_lost)
    );
    assert!(off.would_pass == 0 && on.would_pass == 0 && watch.would_pass > 0);
}

/// 500 mails that come back are worth fewer than 500 that do not.
#[test]
fn who_behaves_well_in_order_to_be_let_through_is_not_for_long() {
    for (looks, feedback) in
        [(Looks::Alone, true), (Looks::Alone, false), (Looks::Honest, true), (Looks::Honest, false)]
    {
        let passed = passed(looks, feedback, 2_000);
        assert!(passed <= GOOD, "{passed}");
    }
}
