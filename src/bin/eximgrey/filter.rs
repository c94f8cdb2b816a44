//! What a listing shows: the same conditions for every kind of record.

use crate::command::{self, one_of};
use clap::Args;
use eximgrey::pasted;
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::words;
use eximgrey::words::Word;
use ipnetwork::IpNetwork;
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// Conditions, all of which must hold.
#[derive(Args, Clone)]
pub struct Filters {
    /// Only what matches every FILTER: client=ADDRESS, client=DOMAIN, sender=TEXT, recipient=TEXT, or
    /// TEXT found anywhere. Case does not matter
    #[arg(value_name = "FILTER", value_parser = Filter::parse)]
    filters: Vec<Filter>,
}

impl Filters {
    /// Whether there is no condition.
    pub const fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// Whether something with these texts is shown.
    pub fn shows(&self, texts: &Texts<'_>) -> bool {
        self.filters.iter().all(|filter| filter.matches(texts))
    }
}

/// The arguments of every listing.
#[derive(Args, Clone)]
pub struct Selection {
    #[command(flatten)]
    filters: Filters,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
    /// In what order [default on a terminal: newest; else that of the store]
    #[arg(long, value_name = "ORDER", value_parser = one_of::<Sort>())]
    pub sort: Option<Sort>,
    /// Only the first NUMBER of that order [default on a terminal: 1000]
    #[arg(long, value_name = "NUMBER")]
    pub limit: Option<NonZeroUsize>,
    /// Only what was seen or made within that time, such as 2h
    #[arg(long, value_name = "TIME", value_parser = command::time)]
    pub since: Option<Seconds>,
    /// On a terminal, too, print without a pager
    #[arg(long)]
    pub no_pager: bool,
}

words! {
    /// The order of a listing.
    Sort {
        /// By time, the newest first.
        Newest = "newest",
        /// By time, the oldest first.
        Oldest = "oldest",
        /// By the client's network or domain.
        Client = "client",
        /// By the sender's domain, then its mailbox.
        Sender = "sender",
        /// By the recipient's domain, then its mailbox.
        Recipient = "recipient",
    }
}

impl Selection {
    /// Takes the one filter out that is a word of `W`, if any is.
    pub fn take_word<W: Word>(&mut self) -> Option<W> {
        let filters = &mut self.filters.filters;
        let place = filters.iter().position(|filter| filter.word::<W>().is_some())?;
        filters.remove(place).word()
    }

    /// Whether records are left out by their texts.
    pub const fn has_filters(&self) -> bool {
        !self.filters.is_empty()
    }

    /// Whether records are left out at all.
    pub const fn is_partial(&self) -> bool {
        self.has_filters() || self.since.is_some()
    }

    /// Adds a filter.
    pub fn add(&mut self, text: &str) -> Result<(), String> {
        self.filters.filters.push(Filter::parse(text)?);
        Ok(())
    }

    /// Whether `time` is not too long ago.
    pub fn reaches(&self, time: Timestamp, now: Timestamp) -> bool {
        self.since.is_none_or(|span| now.since(time) <= span)
    }

    /// Whether a record with these texts is shown.
    pub fn shows(&self, texts: &Texts<'_>) -> bool {
        self.filters.shows(texts)
    }
}

/// The texts of a record, empty where it has none.
#[derive(Default)]
pub struct Texts<'a> {
    /// A network or a domain.
    pub client: &'a [u8],
    pub sender: &'a [u8],
    pub recipient: &'a [u8],
    pub comment: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Column {
    Client,
    Sender,
    Recipient,
    Any,
}

/// One condition on a record.
#[derive(Clone, Debug)]
struct Filter {
    column: Column,
    /// What the text of the column holds, in small letters.
    part: Vec<u8>,
    /// `<>`: the null sender, and not everything.
    exact: bool,
    /// The same as an address, which is looked for in the client's network.
    address: Option<IpAddr>,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, String> {
        let (column, part) = match text.split_once('=') {
            Some(("client", part)) => (Column::Client, part),
            Some(("sender", part)) => (Column::Sender, part),
            Some(("recipient", part)) => (Column::Recipient, part),
            Some(("from" | "to" | "rcpt" | "ip" | "host" | "network" | "spf" | "dkim" | "domain", _)) => {
                return Err("expected client=, sender= or recipient=, or a text found anywhere".into());
            }
            _ => (Column::Any, text),
        };
        let address = pasted::client(part);
        let pasted = pasted::address(part);
        let exact = pasted.is_empty() && !part.is_empty();
        Ok(Self { column, part: pasted.to_ascii_lowercase(), exact, address })
    }

    /// Whether it is but one of the words of `W`.
    fn word<W: Word>(&self) -> Option<W> {
        matches!(self.column, Column::Any).then(|| W::from_word(&self.part)).flatten()
    }

    fn matches(&self, texts: &Texts<'_>) -> bool {
        let part = &self.part;
        let holds = |text: &[u8]| {
            if part.is_empty() {
                return !self.exact || text.is_empty();
            }
            text.to_ascii_lowercase().windows(part.len()).any(|window| window == part)
        };
        let network = || str::from_utf8(texts.client).ok()?.parse::<IpNetwork>().ok();
        let from = |address| network().is_some_and(|network| network.contains(address));
        match self.column {
            Column::Client => self.address.map_or_else(|| holds(texts.client), from),
            Column::Sender => holds(texts.sender),
            Column::Recipient => holds(texts.recipient),
            Column::Any if self.exact => holds(texts.sender),
            Column::Any => {
                let all = [texts.client, texts.sender, texts.recipient, texts.comment];
                self.address.is_some_and(from) || all.into_iter().any(holds)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_find_what_they_name() {
        let texts = Texts {
            client: b"192.0.2.0/24",
            sender: b"Alice=x@Sender.example",
            recipient: b"bob@rcpt.example",
            comment: b"as 203.0.113.9 was",
        };
        let matches = |filter: &str| Filter::parse(filter).unwrap().matches(&texts);
        for yes in [
            "client=192.0.2.77",
            "client=::ffff:192.0.2.77",
            "client=192.0.2.0/24",
            "client=192.0",
            "192.0.2.1",
            "203.0.113.9",
            "sender=ALICE",
            "alice=x@",
            "recipient=bob@",
            "rcpt.example",
            "AS 203",
            "client=[192.0.2.77]:25",
            "sender=<alice=x@sender.example>",
            "recipient=mailto:Bob@RCPT.example.",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in [
            "client=192.0.3.1",
            "2001:db8::1",
            "sender=bob",
            "recipient=alice",
            "carol",
            "client=alice",
            "<>",
            "sender=<>",
        ] {
            assert!(!matches(no), "{no}");
        }
    }
}
