//! Something in the sender that looks like a mailbox, where the recipient is not known, or is another because
//! the mail was forwarded.
//!
//! ```text
//! alice=example.org   alice=40example.org   alice%40example.org   alice==a==example.org   example.org=alice
//! alice%example.org  alice#example.org  alice_at_example.org  alice**example*-org    behind `bounces` only
//! ```
//!
//! Its domain shows where it ends. Nothing shows where its user begins (`news-letter-joe=example.org`), so
//! the caller says from where on.

use std::ops::Range;

use super::slice;

/// Which signs may stand for `@`. People use some, too: those do only where the address is for bounces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Signs {
    /// `=` and what is built with it.
    Equals,
    /// Also `%`, `#`, `~`, `!`, `_at_` and, of LISTSERV, `**`.
    Any,
}

/// What was found.
pub(super) struct Guess {
    /// From the user to the end of the domain.
    pub(super) span: Range<usize>,
    /// Where the sign for `@` stands.
    pub(super) sign: usize,
}

/// A mailbox, its user beginning at `from` or behind an `=` later than that.
pub(super) fn find(local: &[u8], from: usize, signs: Signs) -> Option<Guess> {
    // A `**` with a domain behind it is nobody's own.
    if local.contains(&b'*')
        && let Some(at) = local.windows(2).skip(from).position(|window| window == b"**")
        && (signs == Signs::Any || slice(local, from + at + 2..local.len()).contains(&b'*'))
    {
        // LISTSERV writes a sign in the user as `*-`: the first `*` is behind the name of the list.
        let first = local.iter().skip(from).position(|&byte| byte == b'*').unwrap_or(at);
        return Some(Guess { span: from + first + 1..local.len(), sign: from + at });
    }
    // From the right: an `=` on the left may be the list's own.
    let mut end = local.len();
    while let Some(at) = local.get(from..end)?.iter().rposition(|&byte| is_candidate(byte, signs)) {
        let at = from + at;
        let length = sign(slice(local, at..local.len()), signs);
        if length > 0
            && at > from
            && let Some(mut domain_end) = domain(local, at + length)
        {
            let user = slice(local, from..at).strip_suffix(b"==a=").unwrap_or(slice(local, from..at));
            let start = user.iter().rposition(|&byte| byte == b'=').map_or(from, |at| from + at + 1);
            // `example.org=alice`: the halves swapped. `==list` behind it is no user.
            if let Some([b'=', next, ..]) = local.get(domain_end..)
                && *next != b'='
            {
                domain_end = local.len();
            }
            return Some(Guess { span: start..domain_end, sign: at });
        }
        end = at;
    }
    // `example.org=alice`, where nothing else can be meant.
    if signs != Signs::Any || !local.contains(&b'=') {
        return None;
    }
    let swapped = domain(local, from).filter(|&end| local.get(end) == Some(&b'='))?;
    (swapped + 1 < local.len()).then_some(Guess { span: from..local.len(), sign: swapped })
}

/// `alice+example.org`, or `alice=example.org` behind another `=`, up to the end: where a list's name stands
/// before it with the same sign (Postfix lets one choose both), it is no encoded sender, which has one sign.
pub(super) fn behind_its_own_sign(local: &[u8]) -> Option<Range<usize>> {
    let at = local.iter().rposition(|byte| b"=+".contains(byte))?;
    let sign = local.get(at)?;
    let before = slice(local, 0..at);
    let start = before.iter().rposition(|byte| byte == sign)? + 1;
    let has_user = start > 1 && start < at && domain(local, at + 1) == Some(local.len());
    has_user.then_some(start..local.len())
}

fn is_candidate(byte: u8, signs: Signs) -> bool {
    b"=%".contains(&byte) || (signs == Signs::Any && b"#~!_".contains(&byte))
}

/// The length of what stands for `@` at the start; 0 if nothing does.
fn sign(rest: &[u8], signs: Signs) -> usize {
    match rest {
        [b'=' | b'%', b'4', b'0', ..] if domain(rest, 3).is_some() => 3,
        [b'=', ..] => 1,
        [b'_', b'a', b't', b'_', ..] if signs == Signs::Any => 4,
        [b'%' | b'#' | b'~' | b'!', ..] if signs == Signs::Any => 1,
        _ => 0,
    }
}

/// Where the domain that begins at `at` ends: behind its last label that begins with two letters or more, at
/// a `-` in it. It has a dot. Labels behind that one, such as numbers, are no part of it.
fn domain(local: &[u8], at: usize) -> Option<usize> {
    let rest = local.get(at..)?;
    let in_domain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte) || !byte.is_ascii();
    let length = rest.iter().position(|byte| !in_domain(byte)).unwrap_or(rest.len());
    let labels = slice(rest, 0..length).rsplit(|&byte| byte == b'.');
    let mut end = length;
    for label in labels {
        let letters = label
            .iter()
            .position(|byte| !byte.is_ascii_alphabetic() && byte.is_ascii())
            .unwrap_or(label.len());
        let start = end - label.len();
        if letters >= 2 && label.get(letters).is_none_or(|&byte| byte == b'-') {
            return (start > 1).then_some(at + start + letters);
        }
        end = start.saturating_sub(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::Rule;
    use super::super::tests::{assert_left_alone, assert_table};

    /// A mailbox behind the word or the `+` goes, in each way to write it.
    #[test]
    fn mailbox_inside_is_found() {
        assert_table(
            Rule::Verp,
            &[
                ("dev-bounces+erin-smith=a.example.org@d.example", "dev-bounces+\\*@d.example"),
                ("dev-return-77-bob=example.org@d.example", "dev-return-\\*@d.example"),
                ("dev-owner+bob=40example.org-S76Abz@d.example", "dev-owner+\\*@d.example"),
                ("bounce+bob==a==example.org==garden@d.example", "bounce+\\*==garden@d.example"),
                ("bounce-debian-devel=bob.x=example.org@d.example", "bounce-debian-devel=\\*@d.example"),
                ("x-owner+example.org=bob@d.example", "x-owner+\\*@d.example"),
                ("x-owner+M22=example.org=bob@d.example", "x-owner+\\*@d.example"),
                ("owner-cisco-l*bob*-x**example*-org@d.example", "owner-cisco-l*\\*@d.example"),
                ("bounce-bob%example.org@d.example", "bounce-\\*@d.example"),
                ("bounce-bob#example.org@d.example", "bounce-\\*@d.example"),
                ("bounce-bob_at_example.org@d.example", "bounce-\\*@d.example"),
                ("bounce-bob=example.org.4711@d.example", "bounce-\\*@d.example"),
                ("bounce-bob=example.org-4711@d.example", "bounce-\\*@d.example"),
                ("bounce+bob==a==example.org==users-2==w@d.example", "bounce+\\*==users-2==w@d.example"),
                (
                    "bounces-port-i386-owner-b.o=example.org@d.example",
                    "bounces-port-i386-owner-\\*@d.example",
                ),
                ("bounce-bob.owner=example.org@d.example", "bounce-\\*@d.example"),
                ("me.myself+caf_=bob=example.org@d.example", "me.myself+caf_\\*@d.example"),
                ("news+bob%40example.org@d.example", "news+\\*@d.example"),
                ("bob=example.org@bounces.d.example", "\\*@bounces.d.example"),
                ("news=bob=example.org@d.example", "news=\\*@d.example"),
                ("news+bob+example.org@d.example", "news+\\*@d.example"),
                ("b77bob=example.org@bounce.d.example", "\\*@bounce.d.example"),
            ],
        );
    }

    /// Without a hint it may be the sender itself, written so by its mailer.
    #[test]
    fn encoded_senders_stay() {
        assert_left_alone(&[
            "info=shop-a.example@esp.example",
            "erin-smith=corp.example@esp.example",
            "s1234567=uni.example@esp.example",
            "x-s1234567=uni.example@esp.example",
            "alice%example.org@gw.example",
            "alice_at_example.org@gw.example",
            "alice**bob@gw.example",
            "bounce-a=b@d.example",
            "bounce-x=.org@d.example",
            "bounce-x=a.b@d.example",
            "bounce-=a.example@d.example",
            "bounce-mail=@d.example",
            "news=bob==example.org@d.example",
            "news+bob+shop@d.example",
            "news+bob.example@d.example",
            "info=shop.example@bounces.shop.example",
            "info=eu.shop.example@bounces.mail.eu.shop.example",
        ]);
    }
}
