//! What a listing shows: the same conditions for every kind of record.

use clap::Args;
use ipnetwork::IpNetwork;
use std::convert::Infallible;
use std::net::IpAddr;

/// The arguments of every listing.
#[derive(Args)]
pub struct Selection {
    /// Only records that match every FILTER: client=ADDRESS, client=DOMAIN, sender=TEXT, recipient=TEXT, or
    /// TEXT found anywhere. Case does not matter
    #[arg(value_name = "FILTER", value_parser = Filter::parse)]
    filters: Vec<Filter>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

impl Selection {
    /// Whether a record with these texts is shown.
    pub fn shows(&self, texts: &Texts<'_>) -> bool {
        self.filters.iter().all(|filter| filter.matches(texts))
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
    /// The same as an address, which is looked for in the client's network.
    address: Option<IpAddr>,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Infallible> {
        let (column, part) = match text.split_once('=') {
            Some(("client", part)) => (Column::Client, part),
            Some(("sender", part)) => (Column::Sender, part),
            Some(("recipient", part)) => (Column::Recipient, part),
            _ => (Column::Any, text),
        };
        let address = part.parse().ok().map(|address: IpAddr| address.to_canonical());
        Ok(Self { column, part: part.to_ascii_lowercase().into_bytes(), address })
    }

    fn matches(&self, texts: &Texts<'_>) -> bool {
        let part = &self.part;
        let holds = |text: &[u8]| {
            part.is_empty() || text.to_ascii_lowercase().windows(part.len()).any(|window| window == part)
        };
        let network = || str::from_utf8(texts.client).ok()?.parse::<IpNetwork>().ok();
        let from = |address| network().is_some_and(|network| network.contains(address));
        match self.column {
            Column::Client => self.address.map_or_else(|| holds(texts.client), from),
            Column::Sender => holds(texts.sender),
            Column::Recipient => holds(texts.recipient),
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
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in
            ["client=192.0.3.1", "2001:db8::1", "sender=bob", "recipient=alice", "carol", "client=alice"]
        {
            assert!(!matches(no), "{no}");
        }
    }
}
