//! What greylisting costs sending pools: eximgrey is held to its promises, beside postgrey and greylistd. All greylisters
//! meet the same 5,800 messages; `make pools` prints the figures, `docs/pools.md` explains them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    dead_code,
    missing_docs,
    reason = "a simulation that also serves the report"
)]

#[path = "pools/mod.rs"]
mod pools;

use eximgrey::policy::MANY_NETWORKS_WAIT;
use eximgrey::rules::Rules;
use eximgrey::time::{Seconds, Timestamp};
use pools::botnet::{self, CAMPAIGNS};
use pools::plan::{Plan, Pool};
use pools::report::{Figures, Run, Wait, kinds, table};
use pools::{Attempt, Delay, Greylister, deliver, greylisters};
use std::sync::LazyLock;

/// Every greylister's run of the plan, in the order of the table.
struct Results {
    plan: Plan,
    runs: Vec<Run>,
}

static RESULTS: LazyLock<Results> = LazyLock::new(|| {
    let plan = Plan::new();
    let runs = greylisters().iter_mut().map(|greylister| Run::of(&plan, greylister.as_mut())).collect();
    Results { plan, runs }
});

impl Results {
    fn delays(&self, greylister: &str) -> &[Delay] {
        &self.run(greylister).delays
    }

    fn run(&self, greylister: &str) -> &Run {
        self.runs.iter().find(|run| run.greylister == greylister).expect("a greylister of the table")
    }

    fn figures(&self, greylister: &str, kind: &str) -> Figures {
        self.run(greylister).figures(|message| self.plan.pool(message).kind == kind)
    }

    fn slowest_first(&self, greylister: &str, kind: &str) -> Vec<Wait> {
        let of_kind = (0..self.plan.messages.len()).filter(|message| self.plan.pool(*message).kind == kind);
        let mut waits: Vec<Wait> =
            of_kind.map(|message| Wait::of(self.delays(greylister)[message])).collect();
        waits.sort_unstable_by(|a, b| b.cmp(a));
        waits
    }

    /// Messages that waited otherwise than [`one_retry`] allows, of those that `wanted` holds for.
    fn beyond_one_retry(&self, greylister: &str, wanted: impl Fn(usize) -> bool) -> Vec<String> {
        (0..self.plan.messages.len())
            .filter(|message| wanted(*message))
            .filter(|message| !one_retry(self.plan.pool(*message), self.delays(greylister)[*message]))
            .map(|message| {
                format!("{:?} of {:?}", self.delays(greylister)[message], self.plan.messages[message])
            })
            .collect()
    }
}

/// Whether a message was delivered either at once or by the first retry at or after the delay: the least that
/// greylisting can cost. One without such a retry in the window cannot be delivered by any greylister of these settings.
fn one_retry(pool: &Pool, delay: Delay) -> bool {
    let rules = Rules::default();
    match pool.schedule.first_retry_within(rules.delay, rules.window) {
        Some(first) => delay == Some(Seconds(0)) || delay == Some(first),
        None => true,
    }
}

const OURS: [&str; 3] = ["eximgrey, SPF", "eximgrey, host name", "eximgrey, neither"];

/// Whatever its addresses, a pool that passes SPF waits until its first retry after the delay and no longer, and none of
/// its messages is lost.
#[test]
fn a_pool_that_passes_spf_waits_for_one_retry() {
    let results = &*RESULTS;
    let passes_spf = |message: usize| results.plan.messages[message].spf.is_some();
    assert_eq!(results.beyond_one_retry("eximgrey, SPF", passes_spf), [""; 0]);
    let figures = results.run("eximgrey, SPF").figures(passes_spf);
    assert!(figures.delayed >= results.plan.pools.len() && figures.never == 0, "{figures}");
}

/// The same where there is no SPF, but all hosts have a name under one domain.
#[test]
fn a_pool_with_names_under_one_domain_waits_for_one_retry() {
    let results = &*RESULTS;
    assert_eq!(results.beyond_one_retry("eximgrey, host name", |_| true), [""; 0]);
    let figures = results.run("eximgrey, host name").figures(|_| true);
    assert!(figures.delayed >= results.plan.pools.len() && figures.never == 0, "{figures}");
}

/// With a host name no message at all waits longer than it would with postgrey, with SPF one in hundreds, with neither one in
/// forty, and none of them for an hour: a message that passes by its sender teaches nothing of the other networks of the
/// pool, of which postgrey learns something while that message waits. docs/pools.md says more.
#[test]
fn hardly_a_message_waits_longer_than_with_postgrey() {
    let results = &*RESULTS;
    let theirs = results.delays("postgrey");
    for (name, allowed) in OURS.into_iter().zip([theirs.len() / 500, 0, theirs.len() / 40]) {
        let longer: Vec<_> = (0..theirs.len())
            .filter(|message| Wait::of(results.delays(name)[*message]) > Wait::of(theirs[*message]))
            .map(|message| (results.plan.pool(message).kind, results.delays(name)[message], theirs[message]))
            .collect();
        assert!(longer.len() <= allowed, "{name}: {longer:?}");
        assert!(
            longer.iter().all(|(_, ours, _)| Wait::of(*ours) < Wait::For(Seconds::HOUR)),
            "{name}: {longer:?}"
        );
    }
}

/// Whatever is known of a client, even nothing but its address, no kind of pool is worse off than with postgrey: not in
/// the median delay, the worst, the share never delivered, and by no more than a message in a hundred in the share delayed;
/// and its nth slowest message is no slower, for every n, unless it takes no longer than half an hour.
#[test]
fn no_kind_of_pool_is_worse_off_than_with_postgrey() {
    let results = &*RESULTS;
    for kind in kinds(&results.plan) {
        let theirs = results.figures("postgrey", kind);
        for name in OURS {
            let ranks =
                results.slowest_first(name, kind).into_iter().zip(results.slowest_first("postgrey", kind));
            assert!(
                ranks.into_iter().all(|(ours, theirs)| ours <= theirs.max(Wait::For(MANY_NETWORKS_WAIT))),
                "{kind}, {name}"
            );
            let ours = results.figures(name, kind);
            assert!(
                ours.delayed <= theirs.delayed + ours.messages / 100 && ours.never <= theirs.never,
                "{kind}, {name}: {ours}, {theirs}"
            );
            assert!(
                ours.median <= theirs.median && ours.worst <= theirs.worst,
                "{kind}, {name}: {ours}, {theirs}"
            );
        }
    }
}

/// With nothing known of a client but its address, no pool that goes on trying loses mail, of however many networks. Those
/// that give up after six minutes do.
#[test]
fn a_pool_that_nothing_names_loses_no_mail() {
    let results = &*RESULTS;
    for kind in kinds(&results.plan) {
        let figures = results.figures("eximgrey, neither", kind);
        assert!(figures.never == 0 || kind == "two tries, 5 networks", "{kind}: {figures}");
    }
}

/// What passes for a pool without a name passes for a botnet that does the same: a mail, once in half an hour.
#[test]
fn a_botnet_that_repeats_itself_gets_one_mail_through_in_half_an_hour() {
    for campaign in &CAMPAIGNS {
        let passed = botnet::passed(campaign, "eximgrey, neither");
        let took = campaign.every.0 * (campaign.tries - 1) as u32;
        let most = campaign.mails * took.div_euclid(1_800) as usize;
        assert!(passed <= most, "{passed} of {most}: {}", campaign.title);
        assert!(passed > 0 || took < 1_800, "{}", campaign.title);
    }
}

/// The simulation can tell: the same pools without SPF and host name, and with the peers, do wait for more than one
/// retry, and lose mail.
#[test]
fn without_identities_pools_wait_longer_and_lose_mail() {
    let results = &*RESULTS;
    for name in ["eximgrey, neither", "postgrey", "greylistd, /24", "greylistd"] {
        assert!(results.beyond_one_retry(name, |_| true).len() > 500, "{name}");
        assert!(name.starts_with("eximgrey") || results.run(name).figures(|_| true).never > 50, "{name}");
    }
    for kind in ["gmail.com", "2 networks", "5 networks", "15 networks", "40 networks", "IPv4 and IPv6"] {
        let with = results.figures("eximgrey, SPF", kind);
        let without = results.figures("eximgrey, neither", kind);
        assert!(with.delayed < without.delayed && with.worst < without.worst, "{kind}: {with}, {without}");
    }
}

/// A greylister that always says the same, and counts how often it is asked.
struct Same(bool, usize);

impl Greylister for Same {
    fn name(&self) -> &'static str {
        "the same"
    }

    fn passes(&mut self, _: &Attempt<'_>, _: Timestamp) -> bool {
        self.1 += 1;
        self.0
    }
}

/// A message is tried once and each time its schedule says, no more and no less.
#[test]
fn messages_are_tried_until_they_pass_or_their_schedule_ends() {
    let plan = &RESULTS.plan;
    let mut open = Same(true, 0);
    let delays = deliver(plan, &mut open, |_, _, _| {});
    assert!(delays.iter().all(|delay| *delay == Some(Seconds(0))));
    assert_eq!(open.1, plan.messages.len());

    let mut shut = Same(false, 0);
    let mut last = Timestamp(0);
    let delays = deliver(plan, &mut shut, |_, now, _| {
        assert!(now >= last, "time goes back");
        last = now;
    });
    assert!(delays.iter().all(Option::is_none));
    let tries = |message| 1 + (0..).take_while(|nth| plan.schedule(message).retry(*nth).is_some()).count();
    assert_eq!(shut.1, (0..plan.messages.len()).map(tries).sum::<usize>());
}

/// The page shows what is printed. What a botnet gets through depends a little on the store's secret, by which records lie
/// side by side.
#[test]
fn documented_table() {
    let page = include_str!("../docs/pools.md");
    let table = table(&RESULTS.plan, &RESULTS.runs);
    assert!(page.contains(&table), "docs/pools.md has another table than this:\n{table}");

    let table = botnet::table();
    let head = table.lines().next().unwrap();
    let shown = page.split_once(head).expect("the botnet's table in docs/pools.md").1;
    for (line, shown) in table.lines().skip(1).zip(shown.lines().skip(1)) {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (words, shown) = (words(line), words(shown));
        assert_eq!(words.len(), shown.len(), "docs/pools.md has another line than {line}");
        for (now, then) in words.iter().zip(&shown) {
            let close = match (now.parse::<f64>(), then.parse::<f64>()) {
                (Ok(now), Ok(then)) => (now - then).abs() <= 2.0 + then / 5.0,
                _ => now == then,
            };
            assert!(close, "docs/pools.md has {then} where this has {now}: {line}");
        }
    }
}
