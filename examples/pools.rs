//! Prints what greylisting costs sending pools, with eximgrey and with its peers: `make pools`. With `--trace NAME`, each
//! attempt that the greylister of that name was asked about, and its answer: for `tests/pools/daemons.py`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    missing_docs,
    reason = "a report from a simulation"
)]

#[path = "../tests/pools/mod.rs"]
mod pools;

use pools::botnet;
use pools::plan::Plan;
use pools::report::{Run, table};

fn main() {
    let plan = Plan::new();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, name] = arguments.as_slice()
        && option == "--trace"
    {
        return trace(&plan, name);
    }
    let runs: Vec<Run> =
        pools::greylisters().iter_mut().map(|greylister| Run::of(&plan, greylister.as_mut())).collect();
    print!("{}\n{}", table(&plan, &runs), botnet::table());
}

fn trace(plan: &Plan, name: &str) {
    let mut all = pools::greylisters();
    let greylister =
        all.iter_mut().find(|greylister| greylister.name() == name).expect("a greylister's name");
    pools::deliver(plan, greylister.as_mut(), |attempt, now, passes| {
        let pools::Attempt { client, sender, recipient, .. } = attempt;
        println!("{}\t{client}\t{sender}\t{recipient}\t{}", now.0, if passes { "pass" } else { "defer" });
    });
}
