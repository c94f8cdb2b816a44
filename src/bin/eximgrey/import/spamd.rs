//! What OpenBSD's `spamdb` prints, and that of greyd: fields between bars.
//!
//! ```text
//! WHITE|ADDRESS|||FIRST|PASS|EXPIRE|BLOCKED|PASSED
//! GREY|ADDRESS|HELO|FROM|TO|FIRST|PASS|EXPIRE|BLOCKED|PASSED     HELO not in old versions
//! ```

use super::peer::{Last, Mail, Peer, Read, Said, number, pasted_client, recipient, sender, time};

pub struct Spamd;

impl Peer for Spamd {
    fn line(&mut self, line: &[u8]) -> Read {
        let fields: Vec<_> = line.split(|&byte| byte == b'|').collect();
        match fields.as_slice() {
            [b""] => Ok(None),
            [b"WHITE", address, b"", b"", first, _, expire, _, passed] => Ok(Some(Said::Client {
                client: pasted_client(address)?,
                // It writes how many connections came after the first pass.
                passes: number(passed).unwrap_or(0).saturating_add(1),
                first: time(first)?,
                last: Last::Until(time(expire)?),
            })),
            [b"GREY", address, _, from, to, first, _, _, _, _]
            | [b"GREY", address, from, to, first, _, _, _, _] => {
                let mail = Mail {
                    client: pasted_client(address)?,
                    sender: sender(from)?,
                    masked: false,
                    recipient: recipient(to)?,
                };
                Ok(Some(Said::Waits { mail, first: time(first)? }))
            }
            [b"TRAPPED" | b"SPAMTRAP", ..] => {
                Err("WHITE or GREY: traps are set by `eximgrey trap` and greylist_feedback".into())
            }
            _ => Err("a line of spamdb: WHITE|... or GREY|...".into()),
        }
    }
}
