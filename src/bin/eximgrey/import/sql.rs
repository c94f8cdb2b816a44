//! Tables of other greylisters, printed by the commands in docs/moving.md with tabs between the columns.

use super::peer::{Last, Mail, Peer, Read, Said, client, columns, pasted_client, recipient, sender, time};

/// The ACL of Fedora's exim, with its table in SQLite: who has come back. Its first attempts are hashes.
///
/// ```text
/// HOST TIME
/// ```
pub struct Fedora;

impl Peer for Fedora {
    fn line(&mut self, line: &[u8]) -> Read {
        match columns(line).as_slice() {
            [b""] => Ok(None),
            [host, at] => {
                let at = time(at)?;
                let client = pasted_client(host)?;
                Ok(Some(Said::Client { client, passes: 1, first: at, last: Last::Seen(at) }))
            }
            _ => Err("a host and a time, with a tab between them".into()),
        }
    }
}

/// The table `greylisting_tracking` of iRedAPD.
///
/// ```text
/// CLIENT_ADDRESS SENDER RECIPIENT INIT_TIME RECORD_EXPIRED PASSED
/// ```
pub struct Iredapd;

impl Peer for Iredapd {
    fn line(&mut self, line: &[u8]) -> Read {
        match columns(line).as_slice() {
            [b""] => Ok(None),
            [address, from, to, first, until, passed @ (b"0" | b"1")] => {
                let mail = Mail {
                    client: client(address)?,
                    sender: sender(from)?,
                    masked: false,
                    recipient: recipient(to)?,
                };
                let first = time(first)?;
                let passed = *passed == b"1";
                let until = Last::Until(time(until)?);
                Ok(Some(if passed {
                    Said::Passed { mail, first, last: until }
                } else {
                    Said::Waits { mail, first }
                }))
            }
            _ => {
                let columns = "client_address, sender, recipient, init_time, record_expired, passed";
                Err(format!("{columns}, with tabs between them"))
            }
        }
    }
}
