//! sqlgrey's tables, printed by the command in docs/moving.md: the table's name, then columns, with tabs
//! between them.
//!
//! ```text
//! from_awl    SENDER_NAME SENDER_DOMAIN SRC FIRST LAST    this sender has passed from there
//! domain_awl  SENDER_DOMAIN SRC FIRST LAST                so have several of the domain
//! connect     SENDER_NAME SENDER_DOMAIN SRC RCPT FIRST    a first attempt
//! ```

use super::peer::{Last, Mail, Peer, Read, Said, around, client, columns, recipient, sender, time};
use ipnetwork::IpNetwork;

pub struct Sqlgrey;

impl Peer for Sqlgrey {
    fn line(&mut self, line: &[u8]) -> Read {
        let passed = |src, first, last| {
            // It keeps no recipient: what is known is the client.
            Ok(Some(Said::Client {
                client: source(src)?,
                passes: 1,
                first: time(first)?,
                last: Last::Seen(time(last)?),
            }))
        };
        match columns(line).as_slice() {
            [b""] => Ok(None),
            [b"from_awl", _, _, src, first, last] => passed(src, first, last),
            [b"domain_awl", _, src, first, last] => passed(src, first, last),
            [b"connect", name, domain, src, to, first] => {
                let null = *domain == b"-undef-";
                let from = if null { Vec::new() } else { [*name, b"@", *domain].concat() };
                let mail = Mail {
                    client: source(src)?,
                    sender: sender(&from)?,
                    masked: false,
                    recipient: recipient(to)?,
                };
                Ok(Some(Said::Waits { mail, first: time(first)? }))
            }
            _ => Err("from_awl, domain_awl or connect, and its columns with tabs between them".into()),
        }
    }
}

/// An address, or the first parts of one: three of IPv4, four groups of IPv6.
fn source(text: &[u8]) -> Result<IpNetwork, String> {
    let count = |sign: u8| text.iter().filter(|&&byte| byte == sign).count();
    match (count(b'.'), count(b':')) {
        (2, 0) => client(&[text, b".0/24"].concat()),
        (0, 3) if !text.ends_with(b":") => client(&[text, b"::/64"].concat()),
        _ => client(text).map(|network| around(network.ip(), 32, 128)),
    }
}
