//! The dump of milter-greylist: an address, a sender and a recipient in angle brackets, and a time, with tabs
//! between them.
//!
//! ```text
//! ADDRESS <SENDER> <RECIPIENT> TIME         waits until then
//! ADDRESS <SENDER> <RECIPIENT> TIME AUTO    has passed, and counts until then
//! ```

use super::peer::{Last, Mail, Peer, Read, Said, columns, pasted_client, recipient, sender, time};

pub struct MilterGreylist;

impl Peer for MilterGreylist {
    fn line(&mut self, line: &[u8]) -> Read {
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            return Ok(None);
        }
        let parts = columns(line);
        let [address, from, to, rest @ ..] = parts.as_slice() else {
            return Err("an address, a sender, a recipient and a time, with tabs between them".into());
        };
        let rest = rest.join(&b' ');
        let mut words = rest.split(|&byte| byte == b' ').take_while(|word| !word.starts_with(b"#"));
        let (at, word) = (words.next().unwrap_or_default(), words.next());
        let mail = Mail {
            client: pasted_client(address)?,
            sender: sender(from)?,
            masked: false,
            recipient: recipient(to)?,
        };
        let at = time(at)?;
        match word {
            Some(b"AUTO") => Ok(Some(Said::Passed { mail, first: at, last: Last::Until(at) })),
            None => Ok(Some(Said::Waits { mail, first: at })),
            Some(_) => Err("AUTO, or nothing, behind the time (tarpits are none of ours)".into()),
        }
    }
}
