//! A replay as JSON: docs/schemas/replay.json describes it.

use super::figures::{Crowd, Waits};
use super::{Replayed, Told};
use crate::report::busiest::{SHOWN, Top};
use eximgrey::reply::Reason;
use serde_json::{Value, json};

/// Those that an attempt can have in a replay.
const REASONS: [Reason; 7] =
    [Reason::New, Reason::Early, Reason::Retried, Reason::Known, Reason::Auto, Reason::Off, Reason::Error];

pub fn value(replayed: &Replayed) -> Value {
    let Replayed { lines, from, to, left_out, told, learnt } = replayed;
    let learnt = learnt.as_ref().map(|learnt| {
        let taken = learnt.taken;
        json!({
            "triplets": learnt.triplets, "clients": learnt.clients,
            "records": {"new": taken.new, "changed": taken.changed, "there": taken.there, "unreadable": taken.unreadable},
        })
    });
    json!({
        "from": from.map(|time| time.0), "to": to.map(|time| time.0),
        "lines": lines.all, "unknown_lines": lines.unknown,
        "left_out": {
            "own": left_out.own, "refused": left_out.refused, "unnamed": left_out.unnamed, "unclear": left_out.unclear,
        },
        "configurations": told.iter().map(configuration).collect::<Value>(),
        "learnt": learnt,
    })
}

fn configuration(Told { name, figures }: &Told) -> Value {
    let reason = |reason: &Reason| (reason.word().to_owned(), json!(figures.reason(*reason)));
    json!({
        "name": name,
        "attempts": figures.attempts(), "passed_at_once": figures.passed_at_once(),
        "had_to_wait": figures.had_to_wait(), "assumed_to_come_back": figures.assumed,
        "came_back": figures.reason(Reason::Retried), "never_came_back": figures.never_came_back.many,
        "may_come_back": figures.may_come_back,
        "reasons": REASONS.iter().map(reason).collect::<Value>(),
        "waits": waits(&figures.waits), "assumed_waits": waits(&figures.assumed_waits),
        "busiest": {"had_to_wait": crowd(&figures.waited), "never_came_back": crowd(&figures.never_came_back)},
    })
}

fn waits(waits: &Waits) -> Value {
    let [median, p90, p99] = [50, 90, 99].map(|share| waits.percentile(share).map(|wait| wait.0));
    json!({"count": waits.many(), "median": median, "p90": p90, "p99": p99})
}

fn crowd(crowd: &Crowd) -> Value {
    let list = |top: &Top| -> Value {
        let entry = |(name, n): (&[u8], u64)| json!({"name": String::from_utf8_lossy(name), "at_least": n, "at_most": n + top.lost()});
        top.first(SHOWN).into_iter().map(entry).collect()
    };
    json!({"networks": list(&crowd.networks), "sender_domains": list(&crowd.sender_domains)})
}
