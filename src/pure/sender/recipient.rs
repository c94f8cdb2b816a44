//! The recipient, where it is known, inside the sender (VERP).
//!
//! ```text
//! alice@example.org in   list-return-7-alice=example.org   alice=40example.org   alice==a==example.org
//!                        owner-list*alice**example*-org    alice_at_example.org  example.org=alice
//! ```
//!
//! Only letters and digits are compared: it does not matter which sign stands for `@` or for a dot.

use std::ops::Range;

/// Where the recipient stands in the local part: all of it, with its two halves next to each other.
pub(super) fn find(local: &[u8], recipient: &[u8]) -> Option<Range<usize>> {
    // However it is written, it is as long at least, with the same letters and digits: most senders end here.
    let fits = local.len() + 1 >= recipient.len() && recipient.len() <= super::MAX_RULED;
    if !fits || alphabet(recipient) & !alphabet(local) != 0 {
        return None;
    }
    let (user, domain) = super::split_last(recipient, b'@')?;
    // `user domain user` holds both orders.
    let mut needles = Vec::with_capacity(recipient.len() + user.len());
    let parts = [user, domain, user].map(|part| {
        let start = needles.len();
        skeleton(part, |sign, _| needles.push(sign));
        start..needles.len()
    });
    let [user, domain, swapped] = &parts;
    if user.is_empty() || domain.is_empty() {
        return None;
    }
    let mut offsets = Vec::with_capacity(local.len());
    let mut text = Vec::with_capacity(local.len());
    skeleton(local, |sign, offset| {
        text.push(sign);
        offsets.push(offset);
    });
    // `str` finds in linear time, whatever a stranger writes.
    let (text, needles) = (str::from_utf8(&text).ok()?, str::from_utf8(&needles).ok()?);
    let (at, length) =
        [user.start..domain.end, domain.start..swapped.end].into_iter().find_map(|needle| {
            let length = needle.len();
            Some((text.find(needles.get(needle)?)?, length))
        })?;
    let start = counter_before(local, *offsets.get(at)?);
    let end = *offsets.get(at + length - 1)? + 1;
    // An end within a word is chance, or somebody else's longer domain.
    local.get(end).is_none_or(|byte| !byte.is_ascii_alphanumeric()).then_some(start..end)
}

/// Which ASCII letters and digits occur, one bit each.
fn alphabet(bytes: &[u8]) -> u128 {
    let signs = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric());
    signs.fold(0, |bits, byte| bits | 1 << byte.to_ascii_lowercase())
}

/// Where the token begins that stands right before the recipient (`005alice=example.org`); letters are none.
fn counter_before(local: &[u8], start: usize) -> usize {
    let glued = super::slice(local, 0..start).iter().rev().take_while(|byte| byte.is_ascii_alphanumeric());
    let (length, digits) =
        glued.fold((0, 0), |(n, digits), byte| (n + 1, digits + usize::from(byte.is_ascii_digit())));
    if digits > 0 { start - length } else { start }
}

/// Gives the letters and digits, each as one ASCII character, with their offsets.
fn skeleton(bytes: &[u8], mut push: impl FnMut(u8, usize)) {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_alphanumeric() {
            push(byte.to_ascii_lowercase(), at);
        } else if !byte.is_ascii() {
            // Bytes above ASCII become signs, which the rest of the text does not have.
            push(b' ' + (byte & 0x0f), at);
        } else {
            at += stand_in(bytes, at).saturating_sub(1);
        }
        at += 1;
    }
}

/// The length of what stands at `at` for `@`, a dot or another sign: `=40`, `%2e`, `==a==`, `_at_`, `-at-`.
fn stand_in(bytes: &[u8], at: usize) -> usize {
    let Some(rest) = bytes.get(at..).filter(|rest| rest.first().is_some_and(u8::is_ascii_punctuation)) else {
        return 0;
    };
    match rest {
        [b'=' | b'%', b'2'..=b'7', low, ..] if is_sign(rest.get(1..3)) && low.is_ascii_hexdigit() => 3,
        [b'=', b'=', b'a' | b'A', b'=', b'=', ..] => 5,
        [b'_' | b'-' | b'.', a, t, b'_' | b'-' | b'.', ..]
            if a.eq_ignore_ascii_case(&b'a') && t.eq_ignore_ascii_case(&b't') =>
        {
            4
        }
        _ => 0,
    }
}

/// Whether two hex digits are the code of an ASCII sign.
fn is_sign(hex: Option<&[u8]>) -> bool {
    let code =
        hex.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
    code.is_some_and(|code| code.is_ascii_punctuation())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, key_to};

    /// The recipient is cut exactly where it is, however it is written.
    #[test]
    fn recipient_is_cut_exactly() {
        for written in [
            "news-letter-Erin-Smith=mail.example.net",
            "news-letter-erin-smith=40mail.example.net",
            "news-letter-erin-smith%40mail%2eexample%2enet",
            "news-letter-erin-smith==a==mail.example.net",
            "news-letter-erin-smith_at_mail.example.net",
            "news-letter-erin-smith-AT-mail.example.net",
            "news-letter-erin*-smith**mail*-example*-net",
            "news-letter-erin-smith#mail.example.net",
            "news-letter-erin-smith-mail.example.net",
            "news-letter-mail.example.net=erin-smith",
            "news-letter-erin-smithmail.example.net",
        ] {
            let key = key_to(&format!("{written}@d.example"), "erin-smith@Mail.Example.NET");
            assert_eq!(key, "news-letter-\\*@d.example", "{written}");
        }
        assert_eq!(
            key_to("bounce-alice-jörg=ü.example@d.example", "jörg@ü.example"),
            "bounce-alice-\\*@d.example"
        );
    }

    /// The counter before it goes too; the name of the list stays, on either side.
    #[test]
    fn counter_goes_and_list_stays() {
        let to_bob = |sender| key_to(sender, "bob@b.example");
        assert_eq!(to_bob("v8-users-return-6834-bob=b.example@d.example"), "v8-users-return-\\*@d.example");
        assert_eq!(to_bob("bounce+bob==a==b.example==garden@d.example"), "bounce+\\*==garden@d.example");
        assert_eq!(to_bob("bounce+bob=b.example-1234@d.example"), "bounce+\\*@d.example");
        assert_eq!(to_bob("x-9o3pyg-0-6jv-005bob=b.example@d.example"), "x-\\*@d.example");
        assert_eq!(to_bob("x-qfezbz-0-6jv-bob=b.example@d.example"), "x-\\*@d.example");
        assert_eq!(to_bob("x-123456-list-bob=b.example-99@d.example"), "x-\\*-99@d.example");
        assert_eq!(to_bob("x-bob=b.example-123456@d.example"), "x-\\*@d.example");
        assert_eq!(to_bob("area51-bob=b.example@d.example"), "area51-\\*@d.example");
    }

    /// Somebody else's address inside is not the recipient's.
    #[test]
    fn others_are_not_the_recipient() {
        for (sender, recipient) in [
            ("news-bob=b.example@d.example", "bob@b.exam"),
            ("news-bob=b.example@d.example", "bob@c.example"),
            ("news-bob=b.example@d.example", "bob"),
            ("news-bob=b.example@d.example", "@b.example"),
            ("news-bob=b.example@d.example", "bob@"),
            ("news-bob=x=b.example@d.example", "bob@b.example"),
            ("bob@d.example", "bob@d.example"),
        ] {
            assert_eq!(key_to(sender, recipient), key(sender), "{sender} {recipient}");
        }
    }
}
