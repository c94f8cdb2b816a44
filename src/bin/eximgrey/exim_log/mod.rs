//! Exim's main log: a line in, what it says out. Bytes, of which strangers have chosen many: what is not understood is
//! [`What::Other`], and nothing is believed that stands where they may write.

mod fields;
pub mod files;
pub mod messages;
pub mod places;
mod stamp;

pub use stamp::Clock;

use eximgrey::time::Timestamp;
use fields::Fields;
use std::net::IpAddr;

/// A line with its time.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'l> {
    pub time: Timestamp,
    /// The message's id: 16 characters, or 23 from Exim 4.97 on.
    pub id: Option<&'l [u8]>,
    pub what: What<'l>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum What<'l> {
    /// `<=`: a message was accepted.
    Arrived(Arrival<'l>),
    /// `=>`, `->`, `>>`, `*>`, `==`, `**`: what became of a recipient.
    Sent { recipient: &'l [u8], how: Sent, why: &'l [u8] },
    /// The last of its recipients has been dealt with.
    Completed,
    /// A recipient was refused, for now or for good.
    Refused { mail: Mail<'l>, recipient: &'l [u8], for_now: bool, why: &'l [u8] },
    /// Our own line of a recipient that passed.
    Passed { mail: Mail<'l>, recipient: &'l [u8], reply: &'l [u8] },
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Delivered,
    Deferred,
    Failed,
}

/// Who sends a mail, as far as a line has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mail<'l> {
    /// `None` for a local submission.
    pub client: Option<IpAddr>,
    /// The host name that Exim has verified.
    pub host: Option<&'l [u8]>,
    pub sender: &'l [u8],
    pub authenticated: bool,
    /// The client may have written its address itself.
    pub unclear: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Arrival<'l> {
    pub mail: Mail<'l>,
    /// With `+received_recipients`: separated by blanks. Else empty, and the deliveries tell.
    pub recipients: &'l [u8],
}

/// The text by which our fragments refuse.
pub const OURS: &[u8] = b"greylisted by eximgrey: ";

impl<'l> Line<'l> {
    /// `None` for a line that is none of Exim's log.
    pub fn read(line: &'l [u8], clock: &mut Clock) -> Option<Self> {
        clock.read(line).map(|(time, text)| Self::of(time, text))
    }

    /// The text of a line without its time.
    pub fn of(time: Timestamp, text: &'l [u8]) -> Self {
        let (mut text, mut in_parts) = (text, false);
        // `[77] ` with +pid, and of a line that was too long for syslog `[1/2] `.
        while let Some((inside, rest)) = bracketed(text) {
            if inside.contains(&b'\\') {
                return Self { time, id: None, what: What::Other };
            }
            in_parts |= inside.contains(&b'/');
            text = rest;
        }
        let id = text.split(|&byte| byte == b' ').next().filter(|word| is_message_id(word));
        let text = id.and_then(|id| text.get(id.len() + 1..)).unwrap_or(text);
        let mut what = What::of(id.is_some(), text).unwrap_or(What::Other);
        if let What::Arrived(Arrival { mail, .. }) | What::Refused { mail, .. } = &mut what {
            // Of a long name only the next part may have what Exim wrote behind it.
            let other = |client| fields::has_another_address(text, client);
            mail.unclear |= in_parts || mail.client.is_some_and(other);
        }
        Self { time, id, what }
    }
}

/// `[77] ` and `[1/2] `
fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    let end = inside.iter().take(24).position(|&byte| byte == b']')?;
    let (inside, rest) = inside.split_at_checked(end)?;
    let fits = inside.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'/' | b'\\'));
    fits.then_some((inside, rest.strip_prefix(b"] ")?))
}

/// Three parts of letters and digits: `1vP8sy-000000001Sm-2Zdk`, before Exim 4.97 `1rA5Xk-0004nC-2B`.
pub fn is_message_id(word: &[u8]) -> bool {
    let dashes = match word.len() {
        16 => [6, 13],
        23 => [6, 18],
        _ => return false,
    };
    let fits = |(place, byte): (usize, &u8)| match dashes.contains(&place) {
        true => *byte == b'-',
        false => byte.is_ascii_alphanumeric(),
    };
    word.iter().enumerate().all(fits)
}

impl<'l> What<'l> {
    fn of(of_message: bool, text: &'l [u8]) -> Option<Self> {
        if let Some((sign, rest)) = text.split_at_checked(3).filter(|_| of_message) {
            let how = match sign {
                b"<= " | b"(= " => return Arrival::of(rest).map(Self::Arrived),
                b"=> " | b"-> " | b">> " | b"*> " => Some(Sent::Delivered),
                b"== " => Some(Sent::Deferred),
                b"** " => Some(Sent::Failed),
                b"Com" => return text.starts_with(b"Completed").then_some(Self::Completed),
                _ => None,
            };
            if let Some(how) = how {
                let (recipient, why) = fields::delivered(rest);
                // Behind a delivery stands what the other server said.
                let why = if how == Sent::Delivered { b"" } else { why };
                return Some(Self::Sent { recipient, how, why });
            }
        }
        let ours =
            text.strip_prefix(b"mail-may-pass eximgrey: ").or_else(|| text.strip_prefix(b"eximgrey: "));
        if let Some(answer) = ours {
            return Self::passed(answer);
        }
        text.starts_with(b"H=").then(|| Self::refused(text)).flatten()
    }

    /// `action=pass reason=retried delay=300 by=network H=[192.0.2.1] F=<a@b> RCPT=<c@d>`
    fn passed(text: &'l [u8]) -> Option<Self> {
        let at = text.windows(4).position(|part| part == b" H=[")?;
        let (reply, rest) = text.split_at_checked(at)?;
        let (mut mail, mut recipient) = (Mail::default(), None);
        let mut fields = Fields(rest);
        while recipient.is_none() {
            match fields.mail(&mut mail)? {
                Some(field) => recipient = field.strip_prefix(b"RCPT="),
                None => continue,
            }
        }
        let recipient = fields::inside(recipient?);
        reply.starts_with(b"action=pass").then_some(Self::Passed { mail, recipient, reply })
    }

    /// `H=mx.x.example (helo) [192.0.2.1] F=<a@b> temporarily rejected RCPT <c@d>: relay not permitted`
    fn refused(text: &'l [u8]) -> Option<Self> {
        let (mut mail, mut for_now) = (Mail::default(), false);
        let mut fields = Fields(text);
        loop {
            match fields.mail(&mut mail)? {
                Some(b"temporarily") => for_now = true,
                Some(b"rejected") => break,
                _ => {}
            }
        }
        if fields.next()? != b"RCPT" {
            return None;
        }
        let rest = fields.0;
        let (recipient, rest) = match fields::angle(rest) {
            Some(found) => found,
            // An address that lacks its brackets, or what else a client has sent.
            None => {
                let end = rest.windows(2).position(|part| part == b": ")?;
                rest.split_at_checked(end)?
            }
        };
        let rest = rest.strip_prefix(b" after DATA").unwrap_or(rest);
        let why = rest.strip_prefix(b": ").unwrap_or_default();
        Some(Self::Refused { mail, recipient, for_now, why })
    }

    /// Our answer, where it was ours that refused.
    pub fn ours(why: &'l [u8]) -> Option<&'l [u8]> {
        why.strip_prefix(OURS).filter(|answer| answer.starts_with(b"action=defer"))
    }

    /// Whether some greylister or other has refused.
    pub fn is_greylisted(why: &[u8]) -> bool {
        let why = why.to_ascii_lowercase();
        ["greylist", "graylist", "grey list", "gray list", "grey-list", "gray-list"]
            .iter()
            .any(|word| why.windows(word.len()).any(|part| part == word.as_bytes()))
    }
}

impl<'l> Arrival<'l> {
    /// `a@b H=mx.x.example [192.0.2.1] P=esmtp S=1234 id=x@y T="subject" for c@d e@f`
    fn of(text: &'l [u8]) -> Option<Self> {
        let mut fields = Fields(text);
        let sender = fields::inside(fields.address()?);
        let mut mail = Mail { sender, ..Mail::default() };
        let mut recipients: &[u8] = b"";
        while let Some(field) = fields.mail(&mut mail) {
            // The last one: an id may hold such a word.
            if field == Some(b"for") {
                recipients = fields.0;
            }
        }
        Some(Self { mail, recipients })
    }

    pub fn recipients(&self) -> impl Iterator<Item = &'l [u8]> + use<'l> {
        Fields(self.recipients)
    }
}

#[cfg(test)]
mod tests;
