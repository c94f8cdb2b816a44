//! Address shapes of bulk mailers with the customer's account number in them. It never changes and tells two
//! customers of one mailer apart, so it stays: masked, they would share a key.
//!
//! Each shape is narrow and fits whole; where none does, the general rules decide. No domain is looked at.

use std::ops::Range;

use super::key::Mask;
use super::{Observer, Rule, slice, split_first};

/// What goes, if the local part has one of the shapes.
pub(super) fn mask(local: &[u8], observer: &mut impl Observer) -> Option<Mask> {
    let shapes = [user_number, list_number, subscription, between_tokens, telephone, group_number, wiki_user];
    let mask = shapes.into_iter().find_map(|shape| shape(local))?;
    observer.step(Rule::Account, slice(local, mask.local.clone()));
    Some(mask)
}

fn after(local: &[u8], kept: usize) -> Option<Mask> {
    Some(Mask::local(kept..local.len()))
}

/// `bounces+ACCOUNT-hhhh-user=domain`, hhhh four hex digits.
fn user_number(local: &[u8]) -> Option<Mask> {
    let account = run(local, local.strip_prefix(b"bounces+")?, u8::is_ascii_digit, 4..=12)?;
    let rest = local.get(account.end..)?.strip_prefix(b"-")?;
    let hash = run(rest, rest, u8::is_ascii_hexdigit, 4..=4)?;
    rest.get(hash.end..)?.strip_prefix(b"-")?.contains(&b'=').then_some(())?;
    after(local, account.end + 1)
}

/// `bounce-WORD_ACCOUNT.token`, the word with letters.
fn list_number(local: &[u8]) -> Option<Mask> {
    let rest = local.strip_prefix(b"bounce-")?;
    let at = rest.iter().position(|&byte| byte == b'_')?;
    slice(rest, 0..at).iter().any(u8::is_ascii_lowercase).then_some(())?;
    let account = run(local, slice(rest, at + 1..rest.len()), u8::is_ascii_digit, 4..=12)?;
    local.get(account.end..)?.starts_with(b".").then_some(())?;
    after(local, account.end + 1)
}

/// `DDD-LLL-DDD.numbers`.
fn subscription(local: &[u8]) -> Option<Mask> {
    let fits = local.iter().zip(b"999-aaa-999.9").filter(|&(&byte, &class)| match class {
        b'9' => byte.is_ascii_digit(),
        b'a' => byte.is_ascii_lowercase(),
        other => byte == other,
    });
    (fits.count() == 13).then_some(())?;
    after(local, 12)
}

/// `token==_ACCOUNT_token`.
fn between_tokens(local: &[u8]) -> Option<Mask> {
    let at = local.windows(3).position(|window| window == b"==_")? + 3;
    let account = run(local, slice(local, at..local.len()), u8::is_ascii_digit, 6..=15)?;
    (at >= 20 && local.get(account.end) == Some(&b'_')).then_some(())?;
    Some(Mask { local: 0..local.len(), kept: at - 1..account.end + 1, domain: 0 })
}

/// `NUMBER.NUMBER.token`, both telephone numbers with their country: a text message and whose it is.
fn telephone(local: &[u8]) -> Option<Mask> {
    let to = run(local, local, u8::is_ascii_digit, 10..=15)?;
    let from = run(local, local.get(to.end..)?.strip_prefix(b".")?, u8::is_ascii_digit, 10..=15)?;
    local.get(from.end..)?.starts_with(b".").then_some(())?;
    after(local, from.end + 1)
}

/// `bounce+NUMBER+NUMBER+GROUP+NUMBER`: the list is the third number.
fn group_number(local: &[u8]) -> Option<Mask> {
    let start = b"bounce+".len();
    let mut numbers = local.strip_prefix(b"bounce+")?.split(|&byte| byte == b'+');
    let fields = [numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?];
    let digits = fields.iter().all(|field| !field.is_empty() && field.iter().all(u8::is_ascii_digit));
    let [first, second, group, _] = fields;
    (digits && group.len() >= 4 && numbers.next().is_none()).then_some(())?;
    let at = start + first.len() + second.len() + 2;
    Some(Mask { local: start..local.len(), kept: at..at + group.len(), domain: 0 })
}

/// `wiki-WIKI-user-seconds-hash`, the two numbers in base 36.
fn wiki_user(local: &[u8]) -> Option<Mask> {
    let (wiki, rest) = split_first(local.strip_prefix(b"wiki-")?, b'-')?;
    let (user, rest) = split_first(rest, b'-')?;
    let (seconds, hash) = split_first(rest, b'-')?;
    let base36 = |digits: &[u8]| digits.iter().all(u8::is_ascii_alphanumeric);
    let fits = !wiki.is_empty() && (1..=7).contains(&user.len()) && base36(user);
    (fits && seconds.len() == 6 && base36(seconds) && (12..=24).contains(&hash.len())).then_some(())?;
    after(local, b"wiki-".len() + wiki.len() + 1)
}

/// The run of `class` that `rest`, the end of `local`, begins with: its place in `local`, if its length fits.
fn run(
    local: &[u8],
    rest: &[u8],
    class: fn(&u8) -> bool,
    length: std::ops::RangeInclusive<usize>,
) -> Option<Range<usize>> {
    let start = local.len() - rest.len();
    let found = rest.iter().take_while(|byte| class(byte)).count();
    length.contains(&found).then_some(start..start + found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_table, key};
    use super::*;

    /// Customers of one bulk mailer stay apart.
    #[test]
    fn account_number_stays() {
        assert_table(
            Rule::Account,
            &[
                ("bounces+11111111-ab12-alice=a.example@esp.example", "bounces+11111111-\\*@esp.example"),
                (
                    "bounce-mc.us1_111111.1234567-0123456789@esp.example",
                    "bounce-mc.us1_111111.\\*@esp.example",
                ),
                (
                    "bounce-md_30000001.66a0b1c2.v1-d4fbe337c3ff@esp.example",
                    "bounce-md_30000001.\\*@esp.example",
                ),
                ("111-AAA-111.0.100001.0.0.10001.9.1000001@esp.example", "111-aaa-111.\\*@esp.example"),
                (
                    "Abyhudqi5qLl+XOsxAOLrWN==_1100000000001_S+D1G8vkQfeg==@esp.example",
                    "\\*_1100000000001_\\*@esp.example",
                ),
                ("bounce+13133+231034+4711908+4526088@groups.example", "bounce+\\*4711908\\*@groups.example"),
                ("wiki-enwiki-jeulzc-t81jgv-kOFHRz7Tw_-p5I26@wiki.example", "wiki-enwiki-\\*@wiki.example"),
                ("15550001111.15551230001.AbCdEf1234@sms.example", "15550001111.15551230001.\\*@sms.example"),
            ],
        );
    }

    /// Where a shape does not fit to the letter, the general rules decide.
    #[test]
    fn near_shapes_are_general() {
        for sender in [
            "bounces+11111111-ab123-alice=a.example@esp.example",
            "bounces+11111111-ab12-alice@esp.example",
            "bounces+111-ab12-alice=a.example@esp.example",
            "bounce-mc.us1_111111-1234567@esp.example",
            "bounce-77_111111.1234567@esp.example",
            "111-AAA-1111.0.100001@esp.example",
            "111-AAA-111.x.100001@esp.example",
            "1555000.15551230001.AbCdEf1234@sms.example",
            "15550001111.15551230001@sms.example",
            "short==_1100000000001_token==@esp.example",
            "bounce+13133+231034+4711908@groups.example",
            "wiki-enwiki-jeulzc-t81jg-kofhrz7tw_-p5i26@wiki.example",
            "wiki-enwiki-jeulzc-t81jgv-kofhrz@wiki.example",
            "bounce+13133+231034+4711908+4526088+1@groups.example",
            "bounce+13133+231034+45+4526088@groups.example",
        ] {
            let told = super::super::explain(sender.as_bytes(), None, crate::sender::Level::Full);
            assert!(told.steps.iter().all(|step| step.rule != Rule::Account), "{sender} {}", key(sender));
        }
    }
}
