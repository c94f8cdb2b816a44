//! The report as a page for a browser: one file, without scripts and without anything from outside. What
//! comes from the store is escaped by maud, as any text is.

use super::busiest::{Class, List, SHOWN, Top};
use super::charts::{self, Chart, NARROW, WIDE};
use super::figures::{AT_ONCE, Counted, Counts, Figures, IN_2003, Whitepaper, histogram, share};
use super::wording;
use super::wording::{
    best_and_worst, bucket, column, heading, headline, minute, notes, number, percent, period, row, shown,
    step, whitepaper_rows, why,
};
use crate::output::span;
use eximgrey::reply::{Fault, Reason};
use eximgrey::words::Word;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io;

/// Nothing from outside, whatever might have got into the page.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Rows of a table over time.
const ROWS: usize = 60;

pub fn page(figures: &Figures) -> io::Result<String> {
    let Figures { site, counted, scanned, .. } = figures;
    let over_time =
        counted.as_ref().filter(|counted| counted.total.total() > 0).map(over_time).transpose()?;
    let waits = counted.as_ref().filter(|counted| counted.total.waited() > 0).map(waits).transpose()?;
    let classes = Class::ALL.iter().filter(|class| scanned.count(**class) > 0);
    Ok(frame(
        &site.host,
        &html! {
            header {
                h1 { "Greylisting at " (site.host) }
                p.period { (period(figures.period)) }
                @if let Some(counted) = counted { p.headline { (headline(&counted.total)) } }
            }
            @if let Some(counted) = counted {
                @if counted.total.total() > 0 { (cards(&counted.total)) }
                @if counted.total.errors() > 0 { (faults(&counted.total)) }
            }
            @if let Some(over_time) = over_time { (over_time) }
            @if let Some(waits) = waits { (waits) }
            @if let Some(counted) = counted {
                @if counted.total.passed_at_once() > 0 { (at_once(&counted.total)) }
                @if counted.total.total() > 0 { (strangers(figures, &counted.total)) }
            }
            @for class in classes { (busiest(figures, *class)) }
            (odd(figures))
            (learned(figures))
            @if let Some(counted) = counted {
                @if counted.total.first_attempts() > 0 { (whitepaper(&Whitepaper::of(&counted.total, scanned))) }
            }
            section.notes {
                h2 { "About these figures" }
                ul {
                    @for note in notes(figures) { li { (note) } }
                    li { "The store is " (site.store) ", made " (minute(site.made)) " UTC. Here are networks and domains, and no mailboxes." }
                }
            }
        },
    ))
}

/// Where nothing was ever recorded.
pub fn nothing(host: &str, store: &str) -> String {
    frame(
        host,
        &html! {
            header {
                h1 { "Greylisting at " (host) }
                p.headline { "Nothing recorded yet." }
            }
            section.notes { p { "The store " (store) " is empty: Exim has not asked about any mail. eximgrey doctor says whether it would." } }
        },
    )
}

fn frame(host: &str, content: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                link rel="icon" href="data:,";
                title { "Greylisting at " (host) }
                style { (PreEscaped(include_str!("report.css"))) }
            }
            body {
                main { (content) }
                footer { "eximgrey " (env!("CARGO_PKG_VERSION")) }
            }
        }
    }
    .into_string()
}

fn cards(total: &Counts) -> Markup {
    let (first, back, never) = (total.first_attempts(), total.came_back(), total.never_came_back);
    let ended = match share(never, never + back) {
        Some(share) => format!("{} of those whose end is known: spam held off", percent(Some(share))),
        None => "nothing has come to its end yet".into(),
    };
    let waits = wording::waits(total).unwrap_or_else(|| "and passed".into());
    html! {
        section.cards aria-label="What matters most" {
            div.card.held { strong { (number(first)) } " first attempts" small { "of strangers, answered “come back later”" } }
            div.card.held { strong { (number(never)) } " never came back" small { (ended) } }
            div.card.back {
                strong { (number(back)) } " came back"
                small { (waits) }
            }
            div.card.passed {
                strong { (number(total.passed_at_once())) } " passed at once"
                small { (percent(share(total.passed_at_once(), total.passed()))) " of all mail that passed" }
            }
        }
    }
}

fn learned(figures: &Figures) -> Markup {
    let lines = best_and_worst(&figures.learned);
    html! {
        @if !lines.is_empty() {
            section {
                h2 { "Who comes back, best and worst" }
                p { "What was known of first attempts, and how many came back (eximgrey list learned shows all)." }
                div.scroll { table {
                    thead { tr { th scope="col" { "known" } th scope="col" { "attempts" } th scope="col" { "came back" } th scope="col" { "lane" } } }
                    tbody {
                        @for line in lines {
                            tr { th scope="row" { (line.pattern) } td { (number(line.tried.outcomes().into())) } td { (percent(line.share())) } td { (line.tried.lane().word()) } }
                        }
                    }
                } }
            }
        }
    }
}

/// A chart for each kind of screen, of which one is shown; its figures stand in a table below.
fn figure(id: &str, title: &str, says: &str, charts: &[Chart], legend: &Markup, table: &Markup) -> Markup {
    html! {
        section {
            h2 id=(id) { (title) }
            figure aria-labelledby=(id) {
                @for chart in charts {
                    svg class=(chart.size.class) viewBox=(chart.view_box()) role="img" aria-label=(says) { (PreEscaped(&chart.content)) }
                }
                figcaption { (legend) }
            }
            details {
                summary { "The same as a table" }
                div.scroll { (table) }
            }
        }
    }
}

fn over_time(counted: &Counted) -> io::Result<Markup> {
    let charts = [WIDE, NARROW].map(|size| {
        let (step, rows) = counted.in_at_most(size.bars);
        charts::over_time(&rows, step, size)
    });
    let [wide, narrow] = charts;
    let (each, rows) = counted.in_at_most(ROWS);
    let total = &counted.total;
    let says = format!(
        "Bars over time: {} decisions. {} passed at once, {} came back, {} had to wait, {} faults.",
        number(total.total()),
        number(total.passed_at_once()),
        number(total.came_back()),
        number(total.held()),
        number(total.errors())
    );
    let legend = html! {
        span.key.passed { "passed at once" } " " span.key.back { "came back and passed" } " " span.key.held { "had to wait" }
        @if total.errors() > 0 { " " span.key.faults { "passed for a fault" } }
    };
    let table = html! {
        table {
            thead { tr { th { "Each " (step(each)) ", UTC" } th { "Had to wait" } th { "Came back" } th { "Passed at once" } th { "Faults" } } }
            tbody {
                @for (time, counts) in &rows {
                    tr {
                        th { (row(*time, each)) }
                        td { (number(counts.held())) } td { (number(counts.came_back())) }
                        td { (number(counts.passed_at_once())) } td { (number(counts.errors())) }
                    }
                }
            }
        }
    };
    Ok(figure("over-time", "Decisions over time", &says, &[wide?, narrow?], &legend, &table))
}

fn waits(counted: &Counted) -> io::Result<Markup> {
    let total = &counted.total;
    let histogram = histogram(total);
    let charts = [charts::waits(&histogram, WIDE)?, charts::waits(&histogram, NARROW)?];
    let says = format!(
        "Bars of how long {} retries had waited: {}.",
        number(total.waited()),
        wording::waits(total).unwrap_or_default()
    );
    let legend = html! {
        "Retries that passed, by how long after the first attempt they came. "
        (wording::first_retry(total).join(" "))
    };
    let table = html! {
        table {
            thead { tr { th { "Waited" } th { "Retries" } th { "Share" } } }
            tbody {
                @for (from, to, n) in &histogram {
                    tr { th { (bucket(*from, *to)) } td { (number(*n)) } td { (percent(share(*n, total.waited()))) } }
                }
            }
        }
    };
    Ok(figure("waits", "How long honest mail waited", &says, &charts, &legend, &table))
}

/// A cell with a number, and a bar behind it.
fn cell(n: &str, part: u64, whole: u64) -> Markup {
    let width = share(part, whole).unwrap_or(0.0) * 100.0;
    html! { td.bar style=(format!("--part:{width:.1}%")) { (n) } }
}

fn at_once(total: &Counts) -> Markup {
    let all = total.passed_at_once();
    html! {
        section {
            h2 { "Passed at once, and why" }
            div.scroll { table.reasons {
                thead { tr { th { "Reason" } th { "Mail" } th { "Share" } th.about { "What it means" } } }
                tbody {
                    @for reason in AT_ONCE.iter().filter(|reason| total.reason(**reason) > 0) {
                        @let n = total.reason(*reason);
                        tr {
                            th { (reason.word()) }
                            (cell(&number(n), n, all))
                            td { (percent(share(n, all))) }
                            td.about { (why(*reason)) }
                        }
                    }
                }
            } }
        }
    }
}

fn faults(total: &Counts) -> Markup {
    html! {
        section.warning {
            h2 { (number(total.errors())) " passed for a fault" }
            p { "Mail passes whatever breaks, and is not greylisted then. Run " code { "eximgrey doctor" } "." }
            div.scroll { table.reasons {
                tbody {
                    @for fault in Fault::ALL.iter().filter(|fault| total.fault(**fault) > 0) {
                        tr { th { "error=" (fault.word()) } td { (number(total.fault(*fault))) } td.about { (marked(fault.about())) } }
                    }
                }
            } }
        }
    }
}

/// A text in which what stands between backticks is a name of the configuration.
fn marked(text: &str) -> Markup {
    html! {
        @for (i, piece) in text.split('`').enumerate() {
            @if i % 2 == 1 { code { (piece) } } @else { (piece) }
        }
    }
}

fn strangers(figures: &Figures, total: &Counts) -> Markup {
    let scanned = &figures.scanned;
    let (waiting, not_back) = (scanned.count(Class::Waiting), scanned.count(Class::NotBack));
    let rows = [
        ("Retries too soon", total.reason(Reason::Early), "before the delay was over".to_owned()),
        ("From trapped networks", total.reason(Reason::Trapped), "deferred without a look".into()),
        (
            "In the store now",
            waiting + not_back,
            format!("{} within their delay, {} beyond it", number(waiting), number(not_back)),
        ),
        (
            "First contacts that passed",
            total.first_contacts(),
            format!(
                "mail not known before; {} of it had waited",
                percent(share(total.came_back(), total.first_contacts()))
            ),
        ),
    ];
    html! {
        section {
            h2 { "More about strangers" }
            div.scroll { table.reasons { tbody {
                @for (name, n, about) in rows.iter().filter(|(_, n, _)| *n > 0) {
                    tr { th { (name) } td { (number(*n)) } td.about { (about) } }
                }
            } } }
        }
    }
}

fn busiest(figures: &Figures, class: Class) -> Markup {
    let scanned = &figures.scanned;
    let lists = List::ALL
        .iter()
        .filter_map(|list| Some((list, scanned.top(class, *list).filter(|top| !top.is_empty())?)));
    let lists: Vec<(&List, &Top)> = lists.collect();
    html! {
        section {
            h2 { (heading(class)) ": " (number(scanned.count(class))) }
            @if lists.is_empty() { p { "The store keeps no addresses." } }
            div.lists {
                @for (list, top) in lists {
                    @let entries = top.first(SHOWN);
                    @let most = entries.first().map_or(0, |(_, n)| *n);
                    table {
                        caption { (column(*list)) @if top.lost() > 0 { small { " at least" } } }
                        tbody { @for (name, n) in entries { tr { th { (shown(name)) } (cell(&number(n), n, most)) } } }
                    }
                }
            }
        }
    }
}

fn odd(figures: &Figures) -> Markup {
    let scanned = &figures.scanned;
    html! {
        @if !scanned.roaming.is_empty() {
            section {
                h2 { "Tried from one network after the other" }
                p { "Mail that still waits, though it was tried from several networks. Where such a sender is honest, SPF would let it pass." }
                div.scroll { table {
                    thead { tr { th { "Sender" } th.text { "Recipient" } th { "Networks" } th { "Since, UTC" } } }
                    tbody { @for odd in &scanned.roaming { tr {
                        th { (shown(&odd.sender_domain)) } td.text { (shown(&odd.recipient_domain)) }
                        td { (number(odd.networks)) } td { (minute(odd.first_seen)) }
                    } } }
                } }
            }
        }
        @if scanned.late > 0 {
            section {
                h2 { "Came back late" }
                p {
                    (number(scanned.late)) " after more than " (super::busiest::LONG) ", "
                    (number(scanned.a_day_late)) " of them after more than 20h, as who retries once a day. The latest:"
                }
                div.scroll { table {
                    thead { tr { th { "Sender" } th.text { "Recipient" } th.text { "Network" } th { "Waited" } } }
                    tbody { @for odd in &scanned.longest { tr {
                        th { (shown(&odd.sender_domain)) } td.text { (shown(&odd.recipient_domain)) }
                        td.text { (shown(&odd.network)) } td { (span(odd.waited)) }
                    } } }
                } }
            }
        }
    }
}

fn whitepaper(here: &Whitepaper) -> Markup {
    html! {
        section {
            h2 { "Beside the figures of 2003" }
            p { "The table of the paper that proposed greylisting (Evan Harris, 2003), for this site." }
            div.scroll { table {
                thead { tr { th { "" } th { "Here" } th { "2003" } } }
                tbody { @for (name, value) in whitepaper_rows() { tr { th { (name) } td { (value(here)) } td { (value(&IN_2003)) } } } }
            } }
        }
    }
}
