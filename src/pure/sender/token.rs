//! Tokens without a word like `bounces` in the local part: identifiers that no person chooses.
//!
//! ```text
//! 010201996bceb3ee-06bd71a2-3804-4423-ae3e-51eafc83d366-000000   group+bncBYPJEPDRM5RBKOJ7ACGWQKGQ
//! m-hxsj87qx2gae79vc2kost4lvydi07f310   d-9-418596-4992360-8   ticket+4711   newsletter-2026-11-21
//! ```
//!
//! Each segment is evidence (`segment.rs`), which adds up; each hint lowers how much is needed. What stays:
//! one number behind a name (`store-0042`, `alice.347203`), an address that is one short piece (`u87654321`,
//! the relay aliases of browsers and shops), and any word.

use std::ops::Range;

use super::bounce::around;
use super::key::Mask;
use super::segment::{CERTAIN, Evidence, LIKELY, SLIGHT, Segment, are_gibberish};
use super::verp::{self, Signs};
use super::{Observer, Rule, domain, slice};

/// A local part of one piece must be as long as this: relay aliases of real people have up to 19 characters.
const LONE_TOKEN: usize = 20;

/// What goes where the recipient was found at `recipient`: it, and the counter before it.
pub(super) fn mask_with_recipient(
    local: &[u8],
    segments: &[Segment],
    recipient: Range<usize>,
    observer: &mut impl Observer,
) -> Mask {
    let (before, behind) = around(segments, &recipient);
    // One piece with a digit may be the name of a list (`area51-alice=example.org`). Two are a counter,
    // together with pieces between or before them that are no words.
    let odd = run_before(before, before.len(), Segment::is_odd);
    let run = before.get(before.len() - odd..).unwrap_or_default();
    let counter = run.iter().filter(|s| s.has_digit()).count() >= 2;
    let token = before.iter().find(|s| s.evidence() > 0);
    let start = [run.first().filter(|_| counter), token].into_iter().flatten().map(|s| s.start).min();
    let end = if behind.iter().any(|s| s.evidence() > 0) { local.len() } else { recipient.end };
    let masked = start.unwrap_or(recipient.start)..end;
    if masked != recipient {
        observer.step(Rule::Token, slice(local, masked.clone()));
    }
    Mask::local(masked)
}

/// What goes where no recipient was found. The domain may say that the address is no person's.
pub(super) fn mask(
    local: &[u8],
    segments: &[Segment],
    domain: &[u8],
    observer: &mut impl Observer,
) -> Option<Mask> {
    let for_bounces = domain::is_for_bounces(domain);
    let tag = tag(local, segments);
    let segments = tag.unwrap_or(segments);
    let signs = if for_bounces { Signs::Any } else { Signs::Equals };
    let guess = verp::find(local, segments.first()?.start, signs);
    if let Some(guess) = &guess
        && (for_bounces || tag.is_some())
        && guess.span.end == local.len()
    {
        // A mailbox of the domain itself is the sender's: `info=shop.example@bounces.shop.example`.
        if is_own(slice(local, guess.sign..local.len()), domain) {
            return None;
        }
        observer.step(Rule::Verp, slice(local, guess.span.clone()));
        let (before, _) = around(segments, &guess.span);
        let start = before.iter().find(|s| s.has_digit()).map_or(guess.span.start, |token| token.start);
        return Some(Mask::local(start..local.len()));
    }

    if (guess.is_some() || tag.is_some())
        && let Some(span) = verp::behind_its_own_sign(local)
    {
        observer.step(Rule::Verp, slice(local, span.clone()));
        return Some(Mask::local(span));
    }

    // Else what looks like a mailbox is the sender itself, as its mailer writes it
    // (`shop=example.org__1-token`, a bare `info=shop.example`). At least the last piece before the sign is
    // the sender's own name.
    let own = guess.as_ref().map_or(0..0, |guess| {
        let user = segments.iter().rfind(|segment| segment.end <= guess.sign);
        user.map_or(guess.span.start, |user| user.start)..guess.span.end
    });
    let (before, behind) = if guess.is_some() { around(segments, &own) } else { (segments, &[][..]) };
    let evidence: Evidence = before.iter().chain(behind).map(Segment::evidence).sum();
    // Letters are evidence only where a digit is.
    let letters = || before.iter().chain(behind).any(|s| !s.has_digit() && s.is_gibberish());
    let evidence = if evidence > 0 && letters() { evidence + LIKELY } else { evidence };
    let counted = || segments.iter().any(|s| is_counted(slice(local, s.start..s.end)));
    let needed = match (tag, segments) {
        (Some([_]), _) => SLIGHT,
        (Some([number, ..]), _) if number.is_number() => SLIGHT,
        (Some(_), _) => LIKELY,
        _ if for_bounces => SLIGHT,
        _ if guess.is_some() => LIKELY,
        (None, [lone]) if local.len() < LONE_TOKEN && !lone.is_long_hex() => return None,
        _ if (LIKELY..CERTAIN).contains(&evidence) && (counted() || domain::is_for_notices(domain)) => LIKELY,
        _ => CERTAIN,
    };
    // Some mailers use half of the letters only. Their pairs are less rare, so more of them must be seen.
    let gibberish = for_bounces && are_gibberish(before, 20, 38);
    if evidence < needed && !gibberish {
        return None;
    }
    let start = if for_bounces || tag.is_some() { first_digit } else { first_token };
    let start = start(before).or_else(|| start(behind))?;
    let start = if tag.is_some() { base64_start(local, segments, start) } else { start };
    let whole =
        for_bounces || matches!(tag, Some([number, ..]) if number.is_number() && number.evidence() > 0);
    let end = if whole { local.len() } else { end(local, segments, start.max(own.end)) };
    let rule = if tag.is_some() { Rule::PlusTag } else { Rule::Token };
    observer.step(rule, slice(local, start..end));
    Some(Mask::local(start..end))
}

/// Whether `=example.org`, a sign and a domain, is the sender's domain or one above it.
fn is_own(encoded: &[u8], domain: &[u8]) -> bool {
    let encoded = encoded.iter().position(u8::is_ascii_alphanumeric).and_then(|at| encoded.get(at..));
    let front = encoded.and_then(|encoded| domain.strip_suffix(encoded));
    front.is_some_and(|front| front.is_empty() || front.ends_with(b"."))
}

/// The segments behind the first `+`. What stands before it is the mailbox (RFC 5233), and stays, unless it
/// is a token itself.
fn tag<'a>(local: &[u8], segments: &'a [Segment]) -> Option<&'a [Segment]> {
    let plus = local.iter().position(|&byte| byte == b'+')?;
    let (base, tag) = around(segments, &(plus..plus + 1));
    (!base.is_empty() && !tag.is_empty() && base.iter().all(|s| s.evidence() < LIKELY)).then_some(tag)
}

/// Where the first token begins, or the short numbers right before it. Other pieces with digits may be names.
fn first_token(segments: &[Segment]) -> Option<usize> {
    let find = |least| segments.iter().position(|s| s.evidence() >= least);
    let token = find(LIKELY).or_else(|| find(SLIGHT))?;
    let run = run_before(segments, token, |s| (s.has_digit() && !s.is_numbered_name()) || s.is_gibberish());
    segments.get(token - run).map(|segment| segment.start)
}

/// Where the first piece with a digit begins, else the first of four letters: only programs write there.
fn first_digit(segments: &[Segment]) -> Option<usize> {
    let digit = segments.iter().find(|segment| segment.has_digit());
    digit.or_else(|| segments.iter().find(|segment| segment.letters >= 4)).map(|segment| segment.start)
}

/// Where base64 begins that goes on at `start`, with one of its own two signs between.
fn base64_start(local: &[u8], segments: &[Segment], start: usize) -> usize {
    let before = segments.iter().rfind(|segment| segment.end < start);
    let joined = before.filter(|segment| {
        matches!(slice(local, segment.end..start), b"+" | b"/") && segment.letters >= 4 && !segment.is_word()
    });
    joined.map_or(start, |segment| segment.start)
}

/// How many segments right before the index have the property.
fn run_before(segments: &[Segment], index: usize, property: fn(&Segment) -> bool) -> usize {
    segments.get(..index).unwrap_or_default().iter().rev().take_while(|s| property(s)).count()
}

/// Where what goes ends. Words behind the last token stay, if they begin behind the offset `least`.
fn end(local: &[u8], segments: &[Segment], least: usize) -> usize {
    let words = segments.len() - run_before(segments, segments.len(), Segment::is_word);
    let last = segments.iter().rposition(|s| s.has_digit() || s.is_composite());
    if let Some([token, _, ..]) = last.and_then(|last| segments.get(last..))
        && token.is_composite()
        && token.end >= least
    {
        return token.end;
    }
    match (segments.get(words), words.checked_sub(1).and_then(|last| segments.get(last))) {
        (Some(word), Some(token)) if word.start >= least => token.end,
        _ => local.len(),
    }
}

/// Words for things that are numbered: a long number behind one belongs to the thing, not to a person.
#[rustfmt::skip]
fn is_counted(word: &[u8]) -> bool {
    matches!(
        word,
        b"case" | b"ticket" | b"issue" | b"request" | b"incident" | b"thread" | b"conversation" | b"id"
        | b"ref" | b"msg" | b"message" | b"mail" | b"mailing" | b"campaign" | b"news" | b"newsletter"
        | b"digest" | b"reply" | b"noreply" | b"notification" | b"notifications" | b"notify" | b"alert"
        | b"report" | b"order" | b"invoice" | b"track" | b"tracking"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_left_alone, assert_table};
    use super::*;

    /// What no person chooses goes; words around it stay.
    #[test]
    fn tokens_go() {
        assert_table(
            Rule::Token,
            &[
                ("010201996bceb3ee-06bd71a2-3804-4423-ae3e-51eafc83d366-000000@d.example", "\\*@d.example"),
                ("550e8400-e29b-41d4-a716-446655440000@d.example", "\\*@d.example"),
                ("{550e8400-e29b-41d4-a716-446655440000}@d.example", "\\*@d.example"),
                ("msg_550e8400_e29b_41d4_a716_446655440000@d.example", "msg_\\*@d.example"),
                ("8f14e45fceea167a@d.example", "\\*@d.example"),
                ("3187600694073689133@d.example", "\\*@d.example"),
                ("m-hxsj87qx2gae79vc2kost4lvydi07f310@d.example", "m-\\*@d.example"),
                ("evt_CnOqLOE8bvpKkCKTGTEYpmblzVC@d.example", "evt_\\*@d.example"),
                ("d-9-418596-4992360-8@d.example", "d-\\*@d.example"),
                ("ADQoHLXlp+Ea7VMDj/Pksw5==@d.example", "\\*@d.example"),
                ("8f14e45fceea167a5a36-billing@d.example", "\\*-billing@d.example"),
                ("news-1234567-bob=a.example@d.example", "news-\\*@d.example"),
                (
                    "support=shop.example__1-t87ixleu4l5c53.hjj4o07500dpjxb2@d.example",
                    "support=shop.example_\\*@d.example",
                ),
                ("case-00123456@d.example", "case-\\*@d.example"),
                ("bmn-e2-6936314@alerts.d.example", "bmn-e2-\\*@alerts.d.example"),
                ("b_ukxdgqfkvxkyckwe_ns5uerk5@d.example", "b_\\*@d.example"),
                ("newsletter-20261121@d.example", "newsletter-\\*@d.example"),
                ("newsletter-2026-11-21@d.example", "newsletter-\\*@d.example"),
                ("v-npbchf_hjlogaophm_jmnecade_mogpioim_a@bounce.d.example", "v-\\*@bounce.d.example"),
                ("3UAqfuilMPxrDQDIQQING-NKMG.GZCOR.EQO@x.bounces.d.example", "\\*@x.bounces.d.example"),
                ("b-123456@bnc3.d.example", "b-\\*@bnc3.d.example"),
                ("list-html-10269dzm@rtn.d.example", "list-html-\\*@rtn.d.example"),
                ("anna-dated-1747321536.5d2fb5@d.example", "anna-dated-\\*@d.example"),
                ("anna-dated-1747321536.facade@d.example", "anna-dated-\\*@d.example"),
                ("0_70722_9657ae7e-ff2b-4894-a988-1eb4a09a5fee_us@d.example", "\\*_us@d.example"),
                ("x#2.1555.0a-41538ye19273hvxw.1.b@d.example", "x#\\*@d.example"),
                ("promo-234668823000549itouiintijia@d.example", "promo-\\*@d.example"),
                ("nolist-290841341-8223-bob**example*net@d.example", "nolist-\\*@d.example"),
            ],
        );
    }

    /// A token behind `+` goes; the mailbox before it is untouched.
    #[test]
    fn plus_tags_go() {
        assert_table(
            Rule::PlusTag,
            &[
                ("area51+bncBMCIWMZVHLRBXTDZKEOKQKGQEQD55NSFO@d.example", "area51+\\*@d.example"),
                ("ticket+4711@d.example", "ticket+\\*@d.example"),
                ("cases+7033-xykv@d.example", "cases+\\*@d.example"),
                ("qk3x9d+6sjqhkttifcd@d.example", "qk3x9d+\\*@d.example"),
                ("mdl+BAAF+Uwf7c97e2ba4b6fb48@d.example", "mdl+\\*@d.example"),
                ("support+id874293@d.example", "support+\\*@d.example"),
                ("jira+0123456789ab-4711@d.example", "jira+\\*@d.example"),
                ("x+reply-djjszf7298-yyf86awhyo9j@d.example", "x+reply-\\*@d.example"),
            ],
        );
    }

    /// People, roles, shops, machines, staff and relay aliases stay apart.
    #[test]
    fn people_stay() {
        assert_left_alone(&[
            "alice.1987@d.example",
            "bob_23051991@d.example",
            "asmith.200301@d.example",
            "store-0042@d.example",
            "store-0042-0007@d.example",
            "emp-10235@d.example",
            "s1234567@d.example",
            "13800138000@d.example",
            "+491715550100@d.example",
            "2mo3328bvx07gd4@d.example",
            "hmg8v9vtch9hu1h8zq9@d.example",
            "usr_web12_2@d.example",
            "x1y2z3@d.example",
            "12345678+alice@d.example",
            "alice+bank@d.example",
            "alice+shop24@d.example",
            "alice+2026@d.example",
            "newsletter-2026@d.example",
            "printer-00d861a2b3c4@d.example",
            "router-192-168-1-1@d.example",
            "wolfeschlegelsteinhausenbergerdorff@d.example",
            "xqzvkwjhgfdtrbpnmlcs@d.example",
            "strc.prst.skrz.krk.vlk.zmrzl.plch@d.example",
            "news2024@bounce.d.example",
        ]);
    }
}
