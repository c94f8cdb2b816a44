//! The lines of a listing: their order, how many, and on a terminal headings and a pager. What is listed in the order of
//! the store goes out line by line; what is to be sorted is kept, and no more of it than is shown.

use crate::command::Result;
use crate::filter::{Selection, Sort};
use crate::terminal;
use eximgrey::time::Timestamp;
use ipnetwork::IpNetwork;
use std::collections::BinaryHeap;
use std::io::{self, IsTerminal, Write};

/// Lines on a terminal where no number is given: about what it scrolls back to, and far less than a store
/// can have.
const ON_A_TERMINAL: usize = 1_000;

/// One line.
pub struct Row<'a> {
    pub time: Timestamp,
    pub client: &'a [u8],
    pub sender: &'a [u8],
    pub recipient: &'a [u8],
}

/// The order where none is asked for.
pub enum Order {
    /// None into a pipe, the newest first on a terminal and where only some are shown.
    Stored,
    /// The same, but into a pipe the oldest first.
    Oldest,
    /// That in which the rows come.
    Given,
}

pub struct Rows {
    headings: &'static [&'static str],
    on_terminal: bool,
    pager: bool,
    sort: Option<Sort>,
    /// `None`: nothing is kept.
    limit: Option<usize>,
    /// The last of those that are shown is at the top.
    kept: BinaryHeap<(Vec<u8>, usize, Vec<String>)>,
    count: usize,
}

impl Rows {
    /// `order`: what the listing has where none is asked for.
    pub fn new(selection: &Selection, headings: &'static [&'static str], order: Order) -> Self {
        let on_terminal = io::stdout().is_terminal() && !selection.json;
        let limit = selection.limit.map(usize::from);
        let newest = (on_terminal || limit.is_some()).then_some(Sort::Newest);
        let sort = selection.sort.or(match order {
            Order::Stored => newest,
            Order::Oldest => newest.or(Some(Sort::Oldest)),
            Order::Given => None,
        });
        let limit = limit.or(on_terminal.then_some(ON_A_TERMINAL)).or(sort.map(|_| usize::MAX));
        let pager = !selection.no_pager;
        Self { headings, on_terminal, pager, sort, limit, kept: BinaryHeap::new(), count: 0 }
    }

    /// `columns`: those of the line, escaped; JSON is one. Asked for only where the line may be shown.
    pub fn push(
        &mut self,
        row: &Row<'_>,
        columns: impl FnOnce() -> Vec<String>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        self.count += 1;
        let Some(limit) = self.limit else { return writeln!(out, "{}", columns().join(" ").trim_end()) };
        let place = (self.sort.map_or_else(Vec::new, |sort| key(sort, row)), self.count);
        if self.kept.len() >= limit {
            if self.kept.peek().is_some_and(|(key, count, _)| (key, count) < (&place.0, &place.1)) {
                return Ok(());
            }
            self.kept.pop();
        }
        self.kept.push((place.0, place.1, columns()));
        Ok(())
    }

    /// Writes what is still to be written. `nothing`: what a terminal is told where there is no line.
    pub fn finish(self, nothing: &str, out: &mut impl Write) -> Result<bool> {
        if self.count == 0 && self.on_terminal {
            writeln!(out, "{nothing}")?;
        }
        let shown = self.kept.len();
        let lines: Vec<_> = self.kept.into_sorted_vec().into_iter().map(|(.., columns)| columns).collect();
        if !self.on_terminal || lines.is_empty() {
            lines.iter().try_for_each(|columns| writeln!(out, "{}", columns.join(" ").trim_end()))?;
            return Ok(self.count > 0);
        }
        let headings: Vec<_> = self.headings.iter().map(|&heading| heading.to_owned()).collect();
        let width =
            |place| lines.iter().chain([&headings]).filter_map(|line| line.get(place)).map(String::len).max();
        let widths: Vec<_> = (0..headings.len()).map(|place| width(place).unwrap_or_default()).collect();
        let padded = |line: &[String]| {
            let columns = line.iter().zip(&widths);
            let padded = columns.map(|(text, &width)| format!("{:<width$}", text.trim_start()));
            padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
        };
        let more = self.count - shown;
        terminal::paged(self.pager, out, |out| {
            writeln!(out, "{}", terminal::heading(padded(&headings)))?;
            lines.iter().try_for_each(|line| writeln!(out, "{}", padded(line)))?;
            if more > 0 { writeln!(out, "... and {more} more (--limit)") } else { Ok(()) }
        })?;
        Ok(true)
    }
}

/// Sorts as bytes. Among equals the newest is first.
fn key(sort: Sort, row: &Row<'_>) -> Vec<u8> {
    let oldest = row.time.0.to_be_bytes();
    let newest = (!row.time.0).to_be_bytes();
    // A mailbox stands by its domain.
    let by_domain = |address: &[u8]| {
        let lower = address.to_ascii_lowercase();
        let mut parts = lower.rsplitn(2, |&byte| byte == b'@');
        let (domain, local) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        [domain, b"\0", local, b"\0", &newest].concat()
    };
    match sort {
        Sort::Newest => newest.to_vec(),
        Sort::Oldest => oldest.to_vec(),
        Sort::Client => match str::from_utf8(row.client).ok().and_then(|text| text.parse().ok()) {
            Some(IpNetwork::V4(network)) => [&b"4"[..], &network.ip().octets(), &newest].concat(),
            Some(IpNetwork::V6(network)) => [&b"6"[..], &network.ip().octets(), &newest].concat(),
            None => [&b"n"[..], row.client, b"\0", &newest].concat(),
        },
        Sort::Sender => by_domain(row.sender),
        Sort::Recipient => by_domain(row.recipient),
    }
}
