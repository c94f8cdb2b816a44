//! Senders with a word that says what the address is for: `bounces`, `return`, `owner`.
//!
//! ```text
//! list-return-1234-alice=example.org   bounce-list-6397464   list-bounces+640c9587ada7   bounces-12-34-ab9
//! ```
//!
//! Everything goes from the first counter or token behind the word on. Words before that stay (`returns-eu`),
//! and so does what stands in front of the word: it is the name of the list (`area51-bounces`).

use std::ops::Range;

use super::key::Mask;
use super::segment::{RARE, Segment, are_gibberish};
use super::verp::{self, Signs};
use super::{Observer, Rule, slice};

/// Fewer digits behind the word belong to a name: `bounce-qa1`, `returns-2`.
const COUNTER_DIGITS: u16 = 3;

/// Words that mailing lists and bulk mailers put into an envelope sender; a number of one or two digits may
/// be glued to one.
#[rustfmt::skip]
fn is_keyword(word: &[u8]) -> bool {
    let letters = match word {
        [letters @ .., b'0'..=b'9', b'0'..=b'9'] | [letters @ .., b'0'..=b'9'] => letters,
        letters => letters,
    };
    matches!(
        letters,
        b"rp" | b"bnc" | b"ndr" | b"dsn" | b"rtn" | b"verp" | b"error" | b"leave" | b"owner" | b"unsub" | b"bounce"
        | b"return" | b"sentto" | b"errors" | b"retour" | b"bounces" | b"bounced" | b"returns"
        | b"failure" | b"request" | b"confirm" | b"unsubscribe"
    )
}

/// Whether a label of a domain holds such a word: `bounce-1`, `bnc3`.
pub(super) fn has_keyword(label: &[u8]) -> bool {
    label.split(|byte| !byte.is_ascii_alphanumeric()).any(is_keyword)
}

/// The index of the segment that is the word, among those that end before the offset `before`. Of several
/// (`tax-return-users-return-5`) it is the first with a counter or a `+` behind it, else the first.
pub(super) fn keyword(segments: &[Segment], local: &[u8], before: usize) -> Option<usize> {
    let ahead = segments.iter().enumerate().take_while(|(_, segment)| segment.end <= before);
    let mut first = None;
    for (index, segment) in ahead {
        if is_keyword(slice(local, segment.start..segment.end)) {
            let followed = local.get(segment.end) == Some(&b'+')
                || segments.get(index + 1).is_some_and(Segment::has_digit);
            if followed {
                return Some(index);
            }
            first = first.or(Some(index));
        }
    }
    first
}

/// What goes behind the keyword. `recipient`: where the recipient stands in it, if it was found.
pub(super) fn mask(
    local: &[u8],
    segments: &[Segment],
    keyword: usize,
    recipient: Option<Range<usize>>,
    observer: &mut impl Observer,
) -> Option<Mask> {
    let tail = segments.get(keyword + 1..)?;
    let from = tail.first()?.start;
    let known = recipient.is_some();
    let embedded = recipient.or_else(|| guess(local, tail, from));
    let mut kept = 0..0;
    let masked = match &embedded {
        Some(span) => {
            let (before, behind) = around(tail, span);
            let start = counter(before).map_or(span.start, |token| token.start);
            // The name of the list may stand last: `bounces+alice==a==example.org==list-2`.
            let end = if behind.iter().any(|s| varies(s) && !is_name(s)) { local.len() } else { span.end };
            start..end
        }
        None => {
            let token = counter(tail)?;
            let rest = tail.get(tail.partition_point(|s| s.start < token.start)..)?;
            let digits: u16 = rest.iter().map(|segment| segment.digits).sum();
            let gibberish =
                tail.iter().any(Segment::is_gibberish) || (digits > 0 && are_gibberish(tail, 10, RARE));
            (digits >= COUNTER_DIGITS || gibberish).then_some(())?;
            kept = words_between_numbers(rest);
            token.start..local.len()
        }
    };
    if let Some(span) = embedded {
        if !known {
            observer.step(Rule::Verp, slice(local, span.clone()));
        }
        if span == masked {
            return Some(Mask::local(masked));
        }
    }
    observer.step(Rule::Bounce, slice(local, masked.clone()));
    Some(Mask { local: masked, kept, domain: 0 })
}

/// A recipient that is not known. It begins behind the last word before its sign: what is between two words
/// is the name of the list (`bounces-port-i386-owner-alice=example.org`).
fn guess(local: &[u8], tail: &[Segment], from: usize) -> Option<Range<usize>> {
    let guess = verp::find(local, from, Signs::Any)?;
    let ahead = tail.partition_point(|segment| segment.end <= guess.sign);
    let mut pairs = tail.get(..ahead).unwrap_or_default().windows(2).rev();
    let user = pairs.find_map(|pair| match pair {
        [word, user] if is_keyword(slice(local, word.start..word.end)) => Some(user.start),
        _ => None,
    });
    Some(user.unwrap_or(0).max(guess.span.start)..guess.span.end)
}

/// The first counter or token. What has a digit but stands before a word is the name of the list.
fn counter(segments: &[Segment]) -> Option<&Segment> {
    let next = segments.iter().skip(1).map(Some).chain([None]);
    let names = |(segment, next): &(&Segment, Option<&Segment>)| {
        varies(segment) && !(is_name(segment) && next.is_some_and(Segment::is_word))
    };
    segments.iter().zip(next).find(names).map(|(segment, _)| segment)
}

/// Whether a segment with a digit may be a name or a part of one: `i386`, the 2 of `users-2`.
fn is_name(segment: &Segment) -> bool {
    segment.is_numbered_name() || (segment.is_number() && segment.digits < COUNTER_DIGITS)
}

/// Words with plain numbers on both sides and nowhere anything else: `74700-crm.lead-4133`. No token has
/// them, nor a recipient, which ends in its domain.
fn words_between_numbers(tail: &[Segment]) -> Range<usize> {
    let plain = tail.iter().all(|segment| segment.is_number() || !segment.has_digit());
    let ends = [tail.first(), tail.last()].iter().all(|end| end.is_some_and(Segment::is_number));
    let mut words = tail.iter().skip_while(|s| !s.is_word()).take_while(|s| !s.is_number());
    match words.next() {
        Some(first) if plain && ends => first.start..words.last().unwrap_or(first).end,
        _ => 0..0,
    }
}

/// Whether the segment is a counter or a token.
fn varies(segment: &Segment) -> bool {
    segment.has_digit() || segment.is_gibberish()
}

/// The segments that lie wholly before the span, and those wholly behind it.
pub(super) fn around<'a>(segments: &'a [Segment], span: &Range<usize>) -> (&'a [Segment], &'a [Segment]) {
    let before = segments.partition_point(|segment| segment.end <= span.start);
    let behind = segments.partition_point(|segment| segment.start < span.end);
    (segments.get(..before).unwrap_or_default(), segments.get(behind..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_left_alone, assert_table};
    use super::*;

    /// Behind the word, everything goes from the first counter or token on.
    #[test]
    fn counters_behind_the_word_go() {
        assert_table(
            Rule::Bounce,
            &[
                ("bounce-garden-6397464@d.example", "bounce-garden-\\*@d.example"),
                ("bounce-916936-676-words@d.example", "bounce-\\*@d.example"),
                ("area51-bounces+640c9587ada7bc3e@d.example", "area51-bounces+\\*@d.example"),
                ("garden-confirm+640c9587ada7bc3e@d.example", "garden-confirm+\\*@d.example"),
                ("tax-return-users-return-512@d.example", "tax-return-users-return-\\*@d.example"),
                ("bounce-PXBVWLSTBPFJVY@d.example", "bounce-\\*@d.example"),
                ("bounce-1qRxHz-glOebT-bf@d.example", "bounce-\\*@d.example"),
                ("verp.1234.99@d.example", "verp.\\*@d.example"),
                ("bounce2-1234@d.example", "bounce2-\\*@d.example"),
                ("bounces--1234@d.example", "bounces-\\*@d.example"),
                ("sentto-12-345-678-bob@d.example", "sentto-\\*@d.example"),
                ("bounce+74700-crm.lead-4133@d.example", "bounce+\\*lead\\*@d.example"),
                ("bounce-12-garden-4711@d.example", "bounce-12-garden-\\*@d.example"),
                ("bounce-7470-garden-12-alps-4133@d.example", "bounce-\\*garden\\*@d.example"),
                ("bounces-port-i386-owner-4711@d.example", "bounces-port-i386-owner-\\*@d.example"),
                ("bounce-BKv4-6eH8Fo@d.example", "bounce-\\*@d.example"),
            ],
        );
    }

    /// Words behind it, names before it, and numbers of one or two digits stay.
    #[test]
    fn words_stay() {
        assert_left_alone(&[
            "bounces@d.example",
            "bounce-ed@d.example",
            "returns-eu@d.example",
            "return-desk-north@d.example",
            "bounce-qa1@d.example",
            "errors-web01@d.example",
            "bounces-1@d.example",
            "bounce12@d.example",
            "area51-bounces@d.example",
            "ubuntu-22-bounces@d.example",
            "2024-owner@d.example",
            "bouncer-1234@d.example",
            "bounce123-1234@d.example",
            "bounce-krzysztof@d.example",
            "strcprstskrzkrk@d.example",
        ]);
    }
}
