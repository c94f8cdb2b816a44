//! postgrey's databases `postgrey.db` and `postgrey_clients.db`, as `db_dump` prints them: a head, then for
//! each record a line for the key and one for the value.
//!
//! ```text
//! NET/SENDER/RECIPIENT   FIRST,LAST    a mail; it has passed if it was seen again after the delay
//! ADDRESS                COUNT,LAST    a client
//! ```

use super::peer::{Last, Mail, Peer, Read, Said, around, client, number, recipient, sender, time};
use eximgrey::time::{Seconds, Timestamp};

/// postgrey's own default; it writes nothing that says whether a later attempt has passed.
const DELAY: Seconds = Seconds(300);

#[derive(Default)]
pub struct Postgrey {
    in_data: bool,
    /// All bytes are in hexadecimal: without `-p`.
    hexadecimal: bool,
    key: Option<Vec<u8>>,
}

impl Peer for Postgrey {
    fn begin(&mut self) {
        *self = Self::default();
    }

    fn line(&mut self, line: &[u8]) -> Read {
        if !self.in_data {
            self.hexadecimal |= line == b"format=bytevalue";
            self.in_data = line == b"HEADER=END";
            let is_head = line.contains(&b'=') && line.iter().all(u8::is_ascii_graphic);
            return if is_head { Ok(None) } else { Err("a line of db_dump's head".into()) };
        }
        if line == b"DATA=END" {
            self.in_data = false;
            return Ok(None);
        }
        let text = line.strip_prefix(b" ").and_then(|text| self.unescape(text));
        let Some(text) = text else {
            self.key = None;
            return Err("a line of `db_dump -p`".into());
        };
        // Old versions ended texts with a zero.
        let text = text.strip_suffix(b"\0").unwrap_or(&text).to_vec();
        match self.key.take() {
            None => {
                self.key = Some(text);
                Ok(None)
            }
            Some(key) => record(&key, &text).map(Some),
        }
    }
}

impl Postgrey {
    fn unescape(&self, text: &[u8]) -> Option<Vec<u8>> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let byte = |high: &u8, low: &u8| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
        let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
        loop {
            rest = match rest {
                [] => return Some(out),
                [high, low, rest @ ..] if self.hexadecimal => {
                    out.push(byte(high, low)?);
                    rest
                }
                [b'\\', b'\\', rest @ ..] => {
                    out.push(b'\\');
                    rest
                }
                [b'\\', high, low, rest @ ..] => {
                    out.push(byte(high, low)?);
                    rest
                }
                [b'\\', ..] => return None,
                [_] if self.hexadecimal => return None,
                [plain, rest @ ..] => {
                    out.push(*plain);
                    rest
                }
            };
        }
    }
}

fn record(key: &[u8], value: &[u8]) -> Result<Said, String> {
    if key.len() == 40 && key.iter().all(u8::is_ascii_hexdigit) {
        return Err("a key with addresses (--privacy leaves hashes, which nobody can undo)".into());
    }
    let mut numbers = value.split(|&byte| byte == b',');
    let (Some(one), Some(two)) = (numbers.next(), numbers.next()) else {
        return Err("two numbers with a comma between them".into());
    };
    let last = time(two)?;
    let Some((net, rest)) = split(key) else {
        let passes = number(one).filter(|&count| count > 0).ok_or("a count")?;
        return Ok(Said::Client { client: client(key)?, passes, first: last, last: Last::Seen(last) });
    };
    let first = time(one)?;
    let client = client(net)?;
    // Version 1.36 wrote the size of the network, as another part.
    let (prefix, rest) = split(rest)
        .and_then(|(bits, rest)| Some((number(bits).and_then(|bits| u8::try_from(bits).ok())?, rest)))
        .map_or((None, rest), |(bits, rest)| (Some(bits), rest));
    let bits = if client.is_ipv4() { 32 } else { 128 };
    let client = match (prefix, client.ip()) {
        (Some(prefix), ip) if (1..=bits).contains(&prefix) => around(ip, prefix, prefix),
        (Some(_), _) => return Err("a network".into()),
        // Earlier ones wrote the whole address where the name looked like a pool's.
        (None, ip) if ip.to_string().ends_with(".0") || ip.is_ipv6() => around(ip, 24, 64),
        (None, ip) => ip.into(),
    };
    let slash = rest.iter().rposition(|&byte| byte == b'/').ok_or("a sender and a recipient")?;
    let (from, to) = rest.split_at(slash);
    let to = to.strip_prefix(b"/").unwrap_or(to);
    let mail =
        Mail { client, sender: sender(from)?, masked: from.contains(&b'#'), recipient: recipient(to)? };
    let passed = last.since(first) >= DELAY && last != Timestamp(0);
    Ok(if passed {
        Said::Passed { mail, first, last: Last::Seen(last) }
    } else {
        Said::Waits { mail, first }
    })
}

/// What stands before and behind the first slash.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = text.iter().position(|&byte| byte == b'/')?;
    Some((text.get(..slash)?, text.get(slash + 1..)?))
}
