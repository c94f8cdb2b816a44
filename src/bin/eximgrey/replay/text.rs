//! A replay for people, in at most 100 columns.

use super::figures::{Crowd, Figures, Waits};
use super::{Replayed, Told};
use crate::output::{count, span, word};
use crate::report::busiest::Top;
use crate::report::wording::{minute, number};
use eximgrey::reply::Reason;
use std::io::{self, Write};

/// Lines of a list.
const LINES: usize = 5;

/// The most columns of a configuration's name, from its end.
const NAME: usize = 28;

pub fn write(replayed: &Replayed, out: &mut impl Write) -> io::Result<()> {
    let Replayed { lines, from, to, told, .. } = replayed;
    let times = match (from, to) {
        (Some(from), Some(to)) => format!(", {} to {} UTC", minute(*from), minute(*to)),
        _ => String::new(),
    };
    writeln!(out, "Replayed {} of Exim's log{times}", lines_of(lines.all))?;
    writeln!(out, "As if eximgrey had begun with an empty store\n")?;
    if told.len() > 1 {
        row("", told, |told| tail(&told.name).to_owned(), out)?;
    }
    for (name, figure) in ROWS {
        if told.iter().any(|told| figure(&told.figures) > 0) || !name.starts_with("    ") {
            row(name, told, |told| number(figure(&told.figures)), out)?;
        }
    }
    for (name, waits) in WAITS {
        if told.iter().any(|told| waits(&told.figures).many() > 0) {
            writeln!(out, "\n{name}")?;
            for (name, per_cent) in [("  median", 50), ("  90 %", 90), ("  99 %", 99)] {
                let wait = |told: &Told| waits(&told.figures).percentile(per_cent).map_or("-".into(), span);
                row(name, told, wait, out)?;
            }
        }
    }
    for Told { name, figures } in told {
        let by = if told.len() > 1 { format!(", by {}", word(name.as_bytes())) } else { String::new() };
        crowd(&format!("had to wait{by}"), &figures.waited, out)?;
        crowd(&format!("never came back{by}"), &figures.never_came_back, out)?;
    }
    notes(replayed, out)
}

type Row = (&'static str, fn(&Figures) -> u64);

/// Those that begin with four blanks are left out where there is nothing.
const ROWS: &[Row] = &[
    ("Attempts of mail from outside", Figures::attempts),
    ("  passed at once", Figures::passed_at_once),
    ("    known: the same passed before", |f| f.reason(Reason::Known)),
    ("    auto: the client has proved itself", |f| f.reason(Reason::Auto)),
    ("    off: no greylisting for the recipient", |f| f.reason(Reason::Off)),
    ("    error: no room, or a faulty policy", |f| f.reason(Reason::Error)),
    ("  had to wait", Figures::had_to_wait),
    ("    first attempts", |f| f.reason(Reason::New)),
    ("    came too soon", |f| f.reason(Reason::Early)),
    ("    accepted in the log, taken to come back", |f| f.assumed),
    ("  came back and passed", |f| f.reason(Reason::Retried)),
    ("  never came back", |f| f.never_came_back.many),
    ("  may still come back", |f| f.may_come_back),
];

type Waited = (&'static str, fn(&Figures) -> &Waits);

const WAITS: [Waited; 2] = [
    ("How long they waited who came back", |f| &f.waits),
    ("How long mail would have waited at the least that the log says was accepted", |f| &f.assumed_waits),
];

fn row(name: &str, told: &[Told], cell: impl Fn(&Told) -> String, out: &mut impl Write) -> io::Result<()> {
    let mut line = format!("{name:<43}");
    told.iter().for_each(|told| line += &format!("{:>width$}", cell(told), width = NAME - 1));
    writeln!(out, "{}", line.trim_end())
}

/// The end of a path tells more than its beginning.
fn tail(name: &str) -> &str {
    let cut = name.char_indices().rev().nth(NAME - 3).map_or(0, |(at, _)| at);
    name.get(cut..).unwrap_or(name)
}

fn crowd(what: &str, crowd: &Crowd, out: &mut impl Write) -> io::Result<()> {
    let lists = [("Client networks", &crowd.networks), ("Domains of senders", &crowd.sender_domains)];
    for (who, top) in lists {
        if !top.is_empty() {
            writeln!(out, "\n{who} that most often {what}")?;
            list(top, out)?;
        }
    }
    Ok(())
}

fn list(top: &Top, out: &mut impl Write) -> io::Result<()> {
    for (name, many) in top.first(LINES) {
        writeln!(out, "{:>12}  {}", number(many), word(name))?;
    }
    if top.lost() > 0 {
        writeln!(out, "  each may be too low by {}", number(top.lost()))?;
    }
    Ok(())
}

fn notes(replayed: &Replayed, out: &mut impl Write) -> io::Result<()> {
    let Replayed { lines, left_out, told, learnt, .. } = replayed;
    if told.iter().any(|told| told.figures.assumed > 0) {
        writeln!(
            out,
            "\nThe log says that mail was accepted which would have had to wait here. That its sender would have\n\
             come back, as soon as its delay was over, is assumed; a log without greylisting cannot tell more."
        )?;
    }
    let left_out = [
        (left_out.own, "message", "from this host, its networks, and who has logged in"),
        (left_out.refused, "recipient", "refused by other rules than greylisting"),
        (left_out.unnamed, "message", "whose recipients the log does not name"),
        (left_out.unclear, "line", "whose client may have forged its address"),
        (lines.unknown, "line", "not of Exim's main log"),
    ];
    if left_out.iter().any(|(many, ..)| *many > 0) {
        writeln!(out, "\nLeft out")?;
    }
    for (many, noun, what) in left_out.into_iter().filter(|(many, ..)| *many > 0) {
        let noun = if many == 1 { noun.to_owned() } else { format!("{noun}s") };
        writeln!(out, "{:>12}  {noun} {what}", number(many))?;
    }
    if let Some(learnt) = learnt {
        let (triplets, clients) = (count(learnt.triplets, "triplet"), count(learnt.clients, "client"));
        writeln!(out, "\nLearnt: {triplets} known, {clients}")?;
        if learnt.taken.there > 0 {
            writeln!(out, "{} of these said nothing new", count(learnt.taken.there, "record"))?;
        }
        if learnt.taken.unreadable > 0 {
            let many = count(learnt.taken.unreadable, "record");
            writeln!(out, "{many} not written: a later version's is in the place")?;
        }
    }
    Ok(())
}

fn lines_of(many: u64) -> String {
    format!("{} line{}", number(many), if many == 1 { "" } else { "s" })
}
