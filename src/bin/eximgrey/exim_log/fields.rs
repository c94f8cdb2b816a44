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
        self.take(length(text, b"="))
    }
}

/// How long the field is that `text` begins with. Quotations begin with it, or behind one of `openers`.
fn length(text: &[u8], openers: &[u8]) -> usize {
    let mut opens = true;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let closed = match byte {
            b' ' => return at,
            b'"' if opens => quoted(text, at),
            b'<' if opens => bracketed(text, at),
            _ => None,
        };
        opens = openers.contains(&byte);
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
    fn take(&mut self, length: usize) -> Option<&'l [u8]> {
        let (field, rest) = self.0.trim_ascii_start().split_at_checked(length)?;
        self.0 = rest.strip_prefix(b" ").unwrap_or(rest);
        Some(field)
    }

    /// The address that comes next, of which any word may be quoted: `a."b c"@d`.
    pub fn address(&mut self) -> Option<&'l [u8]> {
        let text = self.0.trim_ascii_start();
        if text.is_empty() { None } else { self.take(length(text, b".")) }
    }

    /// The next field, if it is not one that tells who sends: that goes into `mail`.
    pub fn mail(&mut self, mail: &mut Mail<'l>) -> Option<Option<&'l [u8]>> {
        let text = self.0.trim_ascii_start();
        if let Some(host) = text.strip_prefix(b"H=").filter(|_| mail.client.is_none()) {
            let found = host_and_address(host);
            mail.unclear |= found.is_none();
            if let Some((client, name, rest)) = found {
                (mail.client, mail.host, self.0) = (Some(client), name, rest);
                return Some(None);
            }
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
    let (address, rest) = match rest.first()? {
        b'(' => {
            let mut ends = (0..rest.len()).filter_map(|at| rest.get(at..)?.strip_prefix(b") "));
            ends.find_map(address)?
        }
        _ => address(rest)?,
    };
    // The port.
    let rest = rest.get(rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len())..)?;
    Some((address, name, rest))
}

/// `[192.0.2.1]`, and what follows.
fn address(text: &[u8]) -> Option<(IpAddr, &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    // No address is longer than 45 characters, and few interfaces are.
    let (address, rest) = inside.split_at_checked(inside.iter().take(64).position(|&byte| byte == b']')?)?;
    let address = str::from_utf8(address).ok()?.split('%').next()?.parse::<IpAddr>().ok()?;
    Some((address.to_canonical(), rest.get(1..)?))
}

/// Whether there is another address than `client` where Exim may have written the client's. In front of that stands what
/// the client has said at HELO, which Exim does not escape: with `helo_accept_junk_hosts` it may be an address and all that
/// comes behind one.
pub fn has_another_address(text: &[u8], client: IpAddr) -> bool {
    let opens = text.iter().enumerate().filter(|(_, byte)| **byte == b'[').map(|(at, _)| at);
    let mut addresses = opens.filter_map(|at| {
        let (before, from) = text.split_at_checked(at)?;
        let may_be = before.ends_with(b" ") || before.ends_with(b"H=");
        Some(address(from).filter(|_| may_be)?.0)
    });
    addresses.any(|other| other != client)
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
