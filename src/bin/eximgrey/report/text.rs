//! The report for a terminal, in at most 100 columns.

use super::busiest::{Class, List, SHOWN, Top};
use super::figures::{AT_ONCE, Counted, Figures, IN_2003, Whitepaper, histogram, share};
use super::wording::{
    best_and_worst, bucket, column, first_retry, heading, headline, minute, notes, number, percent, period,
    row, shown, step, waits, whitepaper_rows, why,
};
use crate::output::span;
use eximgrey::learned::Lane;
use eximgrey::reply::{Fault, Reason};
use eximgrey::words::Word;
use std::io::{self, Write};

/// Lines of a table over time.
const ROWS: usize = 36;

/// Lines of a list.
const LINES: usize = SHOWN / 2;

const BAR: usize = 30;

/// How the report is drawn.
#[derive(Clone, Copy)]
pub struct Drawn {
    /// With block characters, which not every terminal has.
    pub blocks: bool,
}

pub fn write(figures: &Figures, drawn: Drawn, out: &mut impl Write) -> io::Result<()> {
    let Figures { site, counted, scanned, .. } = figures;
    writeln!(out, "Greylisting at {}, {}", site.host, period(figures.period))?;
    writeln!(out, "Store {}, made {} UTC", site.store, minute(site.made))?;
    if let Some(counted) = counted {
        writeln!(out, "\n{}", headline(&counted.total))?;
        attempts(figures, counted, out)?;
        if counted.total.total() > 0 {
            drawn.at_once(counted, out)?;
            drawn.waits(counted, out)?;
            drawn.over_time(counted, out)?;
            faults(counted, out)?;
        }
    }
    for class in Class::ALL.iter().filter(|class| scanned.count(**class) > 0) {
        busiest(figures, *class, out)?;
    }
    odd(figures, out)?;
    learned(figures, out)?;
    if let Some(counted) = counted.as_ref().filter(|counted| counted.total.first_attempts() > 0) {
        whitepaper(&Whitepaper::of(&counted.total, scanned), out)?;
    }
    writeln!(out)?;
    notes(figures).iter().try_for_each(|note| wrapped(note, 2, out))
}

fn learned(figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let lines = best_and_worst(&figures.learned);
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nWho comes back, best and worst (eximgrey list learned shows all)")?;
    for line in lines {
        let all = number(line.tried.outcomes().into());
        let lane = if line.tried.lane() == Lane::Usual { "" } else { line.tried.lane().word() };
        writeln!(out, "  {:>7} of{all:>8}  {lane:<6}{}", percent(line.share()), line.pattern)?;
    }
    Ok(())
}

fn attempts(figures: &Figures, Counted { total, .. }: &Counted, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nMail of strangers")?;
    let (first, back) = (total.first_attempts(), total.came_back());
    let mut line = |name: &str, n: u64, note: String| {
        writeln!(out, "{}", format!("  {name:<18}{:>12}  {note}", number(n)).trim_end())
    };
    line("first attempts", first, "answered 451: come back later".into())?;
    let waits = waits(total).map(|waits| format!(": {waits}"));
    line("came back", back, percent(share(back, first)) + &waits.unwrap_or_default())?;
    line("never came back", total.never_came_back, "their time ended without a retry".into())?;
    line("too soon", total.reason(Reason::Early), "retries before the delay was over".into())?;
    if total.reason(Reason::Trapped) > 0 {
        line("trapped", total.reason(Reason::Trapped), "from networks that are trapped".into())?;
    }
    let (waiting, not_back) = (figures.scanned.count(Class::Waiting), figures.scanned.count(Class::NotBack));
    line(
        "in the store now",
        waiting + not_back,
        format!("{} within their delay, {} beyond it", number(waiting), number(not_back)),
    )?;
    let (waited, contacts) = (total.came_back(), total.first_contacts());
    line(
        "first contacts",
        contacts,
        format!("mail that passed, not known before; {} of it had waited", percent(share(waited, contacts))),
    )
}

impl Drawn {
    /// `width`: its columns where it is the longest.
    fn bar(self, part: u64, most: u64, width: usize) -> String {
        let eighths = (part as f64 / most.max(1) as f64 * (8 * width) as f64).round() as usize;
        // What is there is seen.
        let eighths = if part > 0 { eighths.max(1) } else { 0 };
        if !self.blocks {
            return "#".repeat(eighths.div_ceil(8));
        }
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"].get(eighths % 8).copied().unwrap_or_default();
        "█".repeat(eighths / 8) + rest
    }

    fn at_once(self, Counted { total, .. }: &Counted, out: &mut impl Write) -> io::Result<()> {
        let all = total.passed_at_once();
        writeln!(
            out,
            "\nPassed at once, and why: {}, {} of all mail that passed",
            number(all),
            percent(share(all, total.passed()))
        )?;
        for reason in AT_ONCE.iter().filter(|reason| total.reason(**reason) > 0) {
            let n = total.reason(*reason);
            let part = percent(share(n, all));
            let line = format!(
                "  {:<18}{:>12}{part:>9}  {:<43}  {}",
                reason.word(),
                number(n),
                why(*reason),
                self.bar(n, all, 10)
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    fn waits(self, Counted { total, .. }: &Counted, out: &mut impl Write) -> io::Result<()> {
        let histogram = histogram(total);
        let most = histogram.iter().map(|(.., n)| *n).max().unwrap_or(0);
        if most > 0 {
            writeln!(out, "\nHow long honest mail waited")?;
        }
        for (from, to, n) in histogram {
            let part = percent(share(n, total.waited()));
            let line =
                format!("  {:<18}{:>12}{part:>9}  {}", bucket(from, to), number(n), self.bar(n, most, BAR));
            writeln!(out, "{}", line.trim_end())?;
        }
        first_retry(total).iter().try_for_each(|line| writeln!(out, "  {line}"))
    }

    fn over_time(self, counted: &Counted, out: &mut impl Write) -> io::Result<()> {
        let (each, rows) = counted.in_at_most(ROWS);
        writeln!(out, "\nDecisions over time, a line for every {} (UTC)", step(each))?;
        writeln!(
            out,
            "  {:<18}{:>10}{:>10}{:>10}{:>7}  {}",
            "",
            "deferred",
            "came back",
            "at once",
            "faults",
            self.legend()
        )?;
        let most = rows.iter().map(|(_, counts)| counts.total()).max().unwrap_or(0);
        for (time, counts) in rows {
            let numbers = [counts.held(), counts.came_back(), counts.passed_at_once()].map(number);
            let [held, back, at_once] = numbers;
            let line = format!(
                "  {:<18}{held:>10}{back:>10}{at_once:>10}{:>7}  {}",
                row(time, each),
                number(counts.errors()),
                self.stacked(counts.held(), counts.total(), most)
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    const fn legend(self) -> &'static str {
        if self.blocks { "▓ deferred █ passed" } else { "# deferred = passed" }
    }

    fn stacked(self, held: u64, total: u64, most: u64) -> String {
        let width = |part: u64| (part as f64 / most.max(1) as f64 * BAR as f64).round() as usize;
        let (held, total) = (width(held), width(total));
        let [first, second] = if self.blocks { ["▓", "█"] } else { ["#", "="] };
        first.repeat(held) + &second.repeat(total.saturating_sub(held))
    }
}

fn faults(Counted { total, .. }: &Counted, out: &mut impl Write) -> io::Result<()> {
    if total.errors() == 0 {
        return writeln!(out, "\nFaults: none");
    }
    writeln!(
        out,
        "\nFaults, for which mail passed unseen: {} (see eximgrey doctor)",
        number(total.errors())
    )?;
    for fault in Fault::ALL.iter().filter(|fault| total.fault(**fault) > 0) {
        writeln!(out, "  error={:<14}{:>10}", fault.word(), number(total.fault(*fault)))?;
        wrapped(fault.about(), 4, out)?;
    }
    Ok(())
}

fn busiest(figures: &Figures, class: Class, out: &mut impl Write) -> io::Result<()> {
    let scanned = &figures.scanned;
    let all = number(scanned.count(class));
    writeln!(out, "\n{}: {all}", heading(class))?;
    let lists: Vec<(&List, &Top)> = List::ALL
        .iter()
        .filter_map(|list| Some((list, scanned.top(class, *list).filter(|top| !top.is_empty())?)))
        .collect();
    for pair in lists.chunks(2) {
        let columns: Vec<Vec<String>> = pair
            .iter()
            .map(|(list, top)| {
                let title = if top.lost() > 0 {
                    format!("{}, at least", column(**list))
                } else {
                    column(**list).into()
                };
                let lines = top
                    .first(LINES)
                    .into_iter()
                    .map(|(text, n)| format!("{:>9} {}", number(n), cut(&shown(text), 36)));
                [title].into_iter().chain(lines).collect()
            })
            .collect();
        let height = columns.iter().map(Vec::len).max().unwrap_or(0);
        for line in 0..height {
            let cells =
                columns.iter().map(|column| format!("  {:<47}", column.get(line).map_or("", String::as_str)));
            writeln!(out, "{}", cells.collect::<String>().trim_end())?;
        }
    }
    Ok(())
}

/// A text in so many columns; it is ASCII.
fn cut(text: &str, width: usize) -> String {
    if text.len() <= width {
        text.into()
    } else {
        format!("{}...", text.get(..width - 3).unwrap_or_default())
    }
}

fn odd(figures: &Figures, out: &mut impl Write) -> io::Result<()> {
    let scanned = &figures.scanned;
    let mail = |sender: &[u8], recipient: &[u8]| {
        format!("{} to {}", cut(&shown(sender), 32), cut(&shown(recipient), 32))
    };
    if !scanned.roaming.is_empty() {
        writeln!(out, "\nTried from one network after the other, and still waiting")?;
        for odd in scanned.roaming.iter().take(LINES) {
            let since = minute(odd.first_seen);
            writeln!(
                out,
                "{:>6} networks since {since}  {}",
                odd.networks,
                mail(&odd.sender_domain, &odd.recipient_domain)
            )?;
        }
    }
    if scanned.late > 0 {
        writeln!(
            out,
            "\nCame back late: {} after more than {}, {} of them after 20h, as who retries once a day; the latest",
            number(scanned.late),
            super::busiest::LONG,
            number(scanned.a_day_late)
        )?;
        for odd in scanned.longest.iter().take(LINES) {
            let network = cut(&shown(&odd.network), 20);
            writeln!(
                out,
                "{:>9}  {network:<20}  {}",
                span(odd.waited),
                mail(&odd.sender_domain, &odd.recipient_domain)
            )?;
        }
    }
    Ok(())
}

fn whitepaper(here: &Whitepaper, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nThe table of the paper that proposed greylisting (Harris, 2003)\n{:<46}{:>14}{:>14}",
        "", "here", "2003"
    )?;
    for (name, value) in whitepaper_rows() {
        writeln!(out, "{}", format!("  {name:<44}{:>14}{:>14}", value(here), value(&IN_2003)).trim_end())?;
    }
    Ok(())
}

/// A text in lines of at most 96 columns, of which so many are left free.
fn wrapped(text: &str, indent: usize, out: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && indent + line.len() + 1 + word.len() > 96 {
            writeln!(out, "{:indent$}{line}", "")?;
            line.clear();
        }
        let gap = if line.is_empty() { "" } else { " " };
        line = line + gap + word;
    }
    writeln!(out, "{:indent$}{line}", "")
}
