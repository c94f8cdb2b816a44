//! The fields of a line, between blanks. Strangers choose much of them: what stands in quotes or in `<>` is passed over as
//! a whole.

use super::Mail;
use std::net::IpAddr;

/// What is left of a line.
pub struct Fields<'l>(pub &'l [u8]);

impl<'l> Iterator for Fields<'l> {
    type Item = &'l [u8];

    fn next(&mut self) -> Option<&'l [u8]> {
        let text = self.0.trim_ascii_start();
        if text.is_empty() {
            return None;
        }
        let length = length(text);
        let (field, rest) = text.split_at_checked(length)?;
        self.0 = rest.strip_prefix(b" ").unwrap_or(rest);
        Some(field)
    }
}

/// How long the field is that `text` begins with.
fn length(text: &[u8]) -> usize {
    let mut opens = true;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let closed = match byte {
            b' ' => return at,
            b'"' if opens => quoted(text, at),
            b'<' if opens => bracketed(text, at),
            _ => None,
        };
        opens = byte == b'=';
        // What does not end is no quotation.
        at = closed.unwrap_or(at + 1);
    }
    at
}

/// Where the quotation ends that begins at `at`.
fn quoted(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The same for `<"a > b"@c>`.
fn bracketed(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match text.get(at)? {
            b'"' => at = quoted(text, at).unwrap_or(at + 1),
            b'>' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// What stands in `<>` at the beginning of `text`, and what follows.
pub fn angle(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.first().filter(|&&byte| byte == b'<').and_then(|_| bracketed(text, 0))?;
    let (field, rest) = text.split_at_checked(end)?;
    Some((inside(field), rest))
}

/// Without the `<>` around it.
pub fn inside(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"<").and_then(|text| text.strip_suffix(b">")).unwrap_or(text)
}

impl<'l> Fields<'l> {
    /// The next field, if it is not one that tells who sends: that goes into `mail`.
    pub fn mail(&mut self, mail: &mut Mail<'l>) -> Option<Option<&'l [u8]>> {
        let text = self.0.trim_ascii_start();
        if let Some(host) = text.strip_prefix(b"H=").filter(|_| mail.client.is_none())
            && let Some((client, name, rest)) = host_and_address(host)
        {
            (mail.client, mail.host, self.0) = (Some(client), name, rest);
            return Some(None);
        }
        let field = self.next()?;
        if let Some(sender) = field.strip_prefix(b"F=") {
            mail.sender = inside(sender);
        } else if field.starts_with(b"A=") {
            mail.authenticated = true;
        } else if let Some(protocol) = field.strip_prefix(b"P=") {
            mail.authenticated |= [&b"esmtpa"[..], b"esmtpsa", b"asmtp"]
                .contains(&protocol.strip_prefix(b"utf8").unwrap_or(protocol));
        } else {
            return Some(Some(field));
        }
        Some(None)
    }
}

/// An address, a name, and what follows in a line.
type Host<'l> = (IpAddr, Option<&'l [u8]>, &'l [u8]);

/// `mx.x.example (helo) [192.0.2.1]:1234 `: the address, the name that Exim has verified, and what follows. The name that the
/// client claims is its own choice.
fn host_and_address(text: &[u8]) -> Option<Host<'_>> {
    let (name, rest) = match text.first()? {
        b'(' | b'[' => (None, text),
        _ => {
            let (name, rest) = text.split_at_checked(text.iter().position(|&byte| byte == b' ')?)?;
            (Some(name), rest.trim_ascii_start())
        }
    };
    let rest = match rest.first()? {
        b'(' => rest.get(rest.windows(3).position(|part| part == b") [")? + 2..)?,
        _ => rest,
    };
    let rest = rest.strip_prefix(b"[")?;
    let (address, rest) = rest.split_at_checked(rest.iter().position(|&byte| byte == b']')?)?;
    let address = str::from_utf8(address).ok()?.split('%').next()?.parse::<IpAddr>().ok()?;
    // The port.
    let rest = rest.get(rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len())..)?;
    Some((address.to_canonical(), name, rest))
}

/// The envelope recipient of a line of a delivery, and the reason behind it: `bob <bob@x> F=<a@b> R=local: reason`. What
/// stands in `<>` is what was asked for.
pub fn delivered(text: &[u8]) -> (&[u8], &[u8]) {
    let ends: [&[u8]; 6] = [b" F=<", b" P=<", b" R=", b" T=", b": ", b" H="];
    // The colon of this is none before a reason.
    let start = if text.starts_with(b":blackhole: ") { b":blackhole:".len() + 1 } else { 0 };
    let end = (start..text.len())
        .find(|&at| text.get(at..).is_some_and(|rest| ends.iter().any(|end| rest.starts_with(end))));
    let end = end.unwrap_or(text.len());
    let (address, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    let why = match rest.windows(2).position(|part| part == b": ") {
        Some(at) => rest.get(at + 2..).unwrap_or_default(),
        None => b"",
    };
    let asked = address.strip_suffix(b">").and_then(|inside| {
        let open = inside.windows(2).rposition(|part| part == b" <")?;
        inside.get(open + 2..)
    });
    (asked.unwrap_or(address).trim_ascii(), why)
}
