//! greylistd's files `states` and `triplets`, which belong together: the first has the times by the hash of a
//! mail, the second, where it is written (`savetriplets`), the mail by the same hash. The hash means
//! something in these two files only.
//!
//! ```text
//! [white]                     HASH = ADDRESS SENDER RECIPIENT
//! HASH = LAST FIRST COUNT
//! ```

use super::peer::{Last, Mail, Peer, Read, Said, client, number, recipient, sender, time};
use eximgrey::time::Timestamp;
use std::collections::HashMap;

/// Halves that are kept until the other one comes. A file of such a size is 300 MB.
const MOST: usize = 5_000_000;

#[derive(Default)]
pub struct Greylistd {
    /// The section of `states`; none in `triplets`.
    section: Option<Section>,
    states: HashMap<i128, State>,
    mails: HashMap<i128, Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    White,
    Grey,
    Other,
}

#[derive(Clone, Copy)]
struct State {
    white: bool,
    first: Timestamp,
    last: Timestamp,
    count: u32,
}

impl Peer for Greylistd {
    fn begin(&mut self) {
        self.section = None;
    }

    fn line(&mut self, line: &[u8]) -> Read {
        let text = line.trim_ascii();
        if text.is_empty() {
            return Ok(None);
        }
        if text.starts_with(b"[") {
            self.section = Some(match text {
                b"[white]" => Section::White,
                b"[grey]" => Section::Grey,
                _ => Section::Other,
            });
            return Ok(None);
        }
        let section = self.section;
        // What somebody else's list refuses is no matter of greylisting, and the rest is counters.
        if section == Some(Section::Other) {
            return Ok(None);
        }
        let equals = text.iter().position(|&byte| byte == b'=').ok_or("HASH = ...")?;
        let (hash, value) = text.split_at(equals);
        let value = value.strip_prefix(b"=").unwrap_or(value).trim_ascii();
        let hash: i128 =
            str::from_utf8(hash.trim_ascii()).ok().and_then(|hash| hash.parse().ok()).ok_or("a hash")?;
        if self.states.len() + self.mails.len() > MOST {
            return Err("fewer records: what belongs together is kept in memory".into());
        }
        match section {
            Some(section) => {
                let state = state(value, section == Section::White)?;
                match self.mails.remove(&hash) {
                    Some(mail) => said(&mail, state).map(Some),
                    None => {
                        self.states.insert(hash, state);
                        Ok(None)
                    }
                }
            }
            None => match self.states.remove(&hash) {
                Some(state) => said(value, state).map(Some),
                None => {
                    self.mails.insert(hash, value.to_vec());
                    Ok(None)
                }
            },
        }
    }

    fn end(&self) -> Option<(u64, &'static str)> {
        let lost = "hashes without their other half: both files of one save are needed, states and triplets, \
                    and savetriplets = true";
        let many = self.states.len() + self.mails.len();
        (many > 0).then_some((many as u64, lost))
    }
}

fn state(value: &[u8], white: bool) -> Result<State, String> {
    let mut numbers = value.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let (Some(last), Some(first), Some(count), None) =
        (numbers.next(), numbers.next(), numbers.next(), numbers.next())
    else {
        return Err("three numbers: the last time, the first, a count".into());
    };
    Ok(State { white, first: time(first)?, last: time(last)?, count: number(count).unwrap_or(0) })
}

fn said(mail: &[u8], State { white, first, last, count }: State) -> Result<Said, String> {
    let words: Vec<_> = mail.split(|&byte| byte == b' ').collect();
    let mail = |address: &[u8], from: &[u8], to: &[u8]| {
        Ok::<_, String>(Mail {
            client: client(address)?,
            sender: sender(from)?,
            masked: false,
            recipient: recipient(to)?,
        })
    };
    let mail = match words.as_slice() {
        // The null sender.
        [address, to] => mail(address, b"", to)?,
        [address, from, to] => mail(address, from, to)?,
        // `singleupdate`: the client alone.
        [address] if white => {
            let client = client(address)?;
            return Ok(Said::Client { client, passes: count.max(1), first, last: Last::Seen(last) });
        }
        _ => return Err("an address, a sender and a recipient".into()),
    };
    Ok(if white { Said::Passed { mail, first, last: Last::Seen(last) } } else { Said::Waits { mail, first } })
}
