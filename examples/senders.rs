//! Prints how the sender normaliser scores on the corpus, per kind and overall: `make senders`.
//! With `--misses`, also each address that costs a point, and its key.
#![allow(clippy::indexing_slicing, dead_code, missing_docs, reason = "a report on files of this repository")]

#[path = "../tests/corpus/score.rs"]
mod score;

use std::collections::BTreeMap;

use score::{Row, Score, Share};

fn main() {
    let misses = std::env::args().any(|argument| argument == "--misses");
    for (name, rows) in [
        ("public", score::public()),
        ("held-out", score::heldout()),
        ("second", score::second()),
        ("second, made with", score::second_made_with()),
        ("second, held back", score::second_held_back()),
        ("soft", score::soft()),
    ] {
        println!("{name:26}    recipient known              recipient unknown");
        println!("{:26}    one key  separate  unique    one key  separate  unique", "");
        let (known, unknown) = (score::score(&rows, true), score::score(&rows, false));
        for (kind, score) in known.iter().filter(|(kind, _)| !kind.is_empty()) {
            line(kind, score, &unknown[kind]);
        }
        line("overall", &known[""], &unknown[""]);
        if misses {
            print_misses(&rows, true);
            print_misses(&rows, false);
        }
        println!();
    }
    let Share { good, all } = score::accounts_apart();
    println!("accounts of bulk mailers kept apart (soft): {good} of {all}");
}

fn line(kind: &str, known: &Score, unknown: &Score) {
    let cell = |share: Share| {
        if share.all == 0 { "-".to_owned() } else { format!("{:.1}%", share.percent()) }
    };
    let cells =
        |s: &Score| format!("{:>7}  {:>8}  {:>6}", cell(s.collapsed), cell(s.separate), cell(s.unique));
    println!("{kind:26}    {}    {}", cells(known), cells(unknown));
}

fn print_misses(rows: &[Row], with_recipient: bool) {
    let mut keys_of_stream: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut streams_of_key: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for row in rows {
        let key = score::key(row, with_recipient).to_string();
        keys_of_stream.entry(row.stream).or_default().push(key.clone());
        streams_of_key.entry(key).or_default().push(row.stream);
    }
    for row in rows {
        let key = score::key(row, with_recipient).to_string();
        if keys_of_stream[row.stream].iter().any(|other| *other != key) {
            println!("varies (known: {with_recipient}): {} {} -> {key}", row.stream, row.address);
        }
        if streams_of_key[&key].iter().any(|other| *other != row.stream) {
            println!("shared (known: {with_recipient}): {} {} -> {key}", row.stream, row.address);
        }
    }
}
