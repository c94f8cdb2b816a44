//! The report as JSON: docs/schemas/report.json describes it.

use super::busiest::{Class, List, SHOWN, Scanned, Top};
use super::figures::{Counted, Counts, Figures, Whitepaper, histogram, share};
use super::wording::NEARLY_ALL;
use crate::learned::Line;
use eximgrey::reply::{Fault, Reason};
use serde_json::{Map, Value, json};

pub fn value(figures: &Figures) -> Value {
    let Figures { site, period, counted, scanned, learned } = figures;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "host": site.host,
        "store": site.store,
        "made": site.made.0,
        "from": period.from.0,
        "to": period.to.0,
        "decisions": counted.as_ref().map(|counted| decisions(&counted.total)),
        "waits": counted.as_ref().map(|counted| waits(&counted.total)),
        "timeline": counted.as_ref().map(timeline),
        "whitepaper": counted.as_ref().map(|counted| whitepaper(&Whitepaper::of(&counted.total, scanned))),
        "in_store": in_store(scanned),
        "learned": learned.iter().map(Line::json).collect::<Value>(),
        "busiest": (!site.privacy).then(|| busiest(scanned)),
        "many_networks": scanned.roaming.iter().map(|odd| json!({
            "networks": odd.networks, "first_seen": odd.first_seen.0,
            "sender_domain": text(&odd.sender_domain), "recipient_domain": text(&odd.recipient_domain),
        })).collect::<Value>(),
        "late": {
            "over_4_hours": scanned.late, "over_20_hours": scanned.a_day_late,
            "longest": scanned.longest.iter().map(|odd| json!({
                "waited": odd.waited.0, "network": text(&odd.network),
                "sender_domain": text(&odd.sender_domain), "recipient_domain": text(&odd.recipient_domain),
            })).collect::<Value>(),
        },
        "unreadable": scanned.unreadable,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Those that are counted.
fn words<W: Copy + PartialEq>(
    all: &[W],
    leave_out: &[W],
    word: fn(W) -> &'static str,
    count: impl Fn(W) -> u64,
) -> Map<String, Value> {
    let counted = all.iter().filter(|word| !leave_out.contains(word));
    counted.map(|it| (word(*it).to_owned(), json!(count(*it)))).collect()
}

fn decisions(total: &Counts) -> Value {
    let reasons =
        words(Reason::ALL, &[Reason::Local, Reason::Off], Reason::word, |reason| total.reason(reason));
    let errors = words(Fault::ALL, &[Fault::BadConfig], Fault::word, |fault| total.fault(fault));
    json!({
        "total": total.total(), "deferred": total.deferred(), "would_defer": total.would_defer,
        "would_pass": total.would_pass, "passed": total.passed(), "passed_at_once": total.passed_at_once(),
        "first_attempts": total.first_attempts(), "came_back": total.came_back(),
        "never_came_back": total.never_came_back, "too_soon": total.reason(Reason::Early),
        "first_contacts": total.first_contacts(),
        "first_contacts_that_waited": share(total.came_back(), total.first_contacts()),
        "reasons": reasons, "errors": errors,
    })
}

fn waits(total: &Counts) -> Value {
    let [median, most, all] = [0.5, 0.9, 0.99].map(|share| total.wait(share).map(|wait| wait.seconds().0));
    let histogram = histogram(total);
    let shorter = total.shorter_delay(NEARLY_ALL);
    let shorter = shorter.map(|it| json!({"delay": it.delay.0, "share": it.share, "besides": it.besides}));
    let buckets =
        histogram.iter().map(|(from, to, n)| json!({"over": from.0, "up_to": to.map(|to| to.0), "count": n}));
    json!({"count": total.waited(), "median": median, "p90": most, "p99": all, "histogram": buckets.collect::<Value>(),
        "at_first_retry": total.at_first_retry(), "shorter_delay": shorter})
}

fn timeline(Counted { step, rows, .. }: &Counted) -> Value {
    let rows = rows.iter().map(|(time, counts)| {
        json!({
            "from": time.0, "deferred": counts.deferred(), "would_defer": counts.would_defer,
            "first_attempts": counts.first_attempts(), "came_back": counts.came_back(),
            "passed_at_once": counts.passed_at_once(), "errors": counts.errors(),
        })
    });
    json!({"step": step.0, "rows": rows.collect::<Value>()})
}

fn whitepaper(it: &Whitepaper) -> Value {
    json!({
        "triplets": it.triplets, "effective": it.effective, "passed": it.passed, "delayed": it.delayed,
        "delayed_share": it.delayed_share, "delayed_again_at_least": it.delayed_again,
        "delayed_again_share": it.delayed_again_share,
        "bytes_saved": it.bytes_saved, "bytes_spent": it.bytes_spent,
    })
}

fn in_store(scanned: &Scanned) -> Value {
    Class::ALL.iter().map(|class| (class.word().to_owned(), json!(scanned.count(*class)))).collect()
}

fn busiest(scanned: &Scanned) -> Value {
    let lists = |class: Class| -> Value {
        let lists = List::ALL.iter().filter_map(|list| Some((list, scanned.top(class, *list)?)));
        lists.map(|(list, top)| (list.word().to_owned(), entries(top))).collect()
    };
    Class::ALL.iter().map(|class| (class.word().to_owned(), lists(*class))).collect()
}

fn entries(top: &Top) -> Value {
    let entry =
        |(name, n): (&[u8], u64)| json!({"name": text(name), "at_least": n, "at_most": n + top.lost()});
    top.first(SHOWN).into_iter().map(entry).collect()
}

/// Where nothing was ever recorded.
pub fn nothing(store: &str) -> Value {
    json!({"version": env!("CARGO_PKG_VERSION"), "store": store, "made": null})
}
