//! The corpus as a test, with the scores as floors, and what must hold for any address.
#![allow(clippy::indexing_slicing, dead_code, missing_docs, reason = "score.rs also serves the report")]

#[path = "corpus/score.rs"]
mod score;

use eximgrey::sender::{Level, explain, normalise};
use proptest::prelude::*;
use score::{Score, Share};

fn all_good(share: Share) -> bool {
    share.all > 0 && share.good == share.all
}

/// On the public corpus each stream has one key of its own, and nobody shares one.
#[test]
fn public_corpus() {
    let rows = score::public();
    let Score { collapsed, separate, unique } = score::score(&rows, true)[""];
    assert_eq!((collapsed.all, unique.all), (155, 431));
    assert!(
        all_good(collapsed) && all_good(separate) && all_good(unique),
        "{collapsed:?} {separate:?} {unique:?}"
    );

    // Without the recipient one format writes it with no sign before the domain: 99.4%.
    let Score { collapsed, separate, unique } = score::score(&rows, false)[""];
    assert!(collapsed.good >= 154, "{collapsed:?}");
    assert!(all_good(separate) && all_good(unique), "{separate:?} {unique:?}");
}

/// Formats that the rules were not made for: no two streams share a key, and nearly all collapse.
#[test]
fn heldout_corpus() {
    let rows = score::heldout();
    for with_recipient in [true, false] {
        let Score { collapsed, separate, unique } = score::score(&rows, with_recipient)[""];
        assert!(collapsed.percent() >= 98.0, "{collapsed:?}");
        assert!(all_good(separate) && all_good(unique), "{separate:?} {unique:?}");
    }
}

/// Formats from public software and headers: people stay apart, and all streams but two of one host.
#[test]
fn second_corpus() {
    let all = score::second();
    for (with_recipient, one_key) in [(true, 93.8), (false, 88.5)] {
        let score = score::score(&all, with_recipient)[""];
        assert_eq!((score.collapsed.all, score.unique.all), (114, 92));
        assert!(score.collapsed.percent() >= one_key && score.separate.percent() >= 98.0, "{score:?}");
        assert!(all_good(score.unique), "{score:?}");
    }
    let made = score::score(&score::second_made_with(), true)[""];
    assert!(made.collapsed.percent() >= 97.0, "{made:?}");
}

/// Customers of one bulk mailer do not share a key.
#[test]
fn soft_corpus() {
    let apart = score::accounts_apart();
    assert_eq!((apart.good, apart.all), (12, 12));
}

/// The tables of the manual's page say what the code does.
#[test]
fn documented_keys() {
    let code = |cell: &'static str| cell.trim().strip_prefix('`')?.strip_suffix('`');
    let mut checked = 0;
    for line in include_str!("../docs/senders.md").lines() {
        let cells: Vec<_> = line.split('|').collect();
        let [_, first, before, after, _] = cells[..] else { continue };
        let (Some(before), Some(after)) = (code(before), code(after)) else { continue };
        let key = normalise(before.as_bytes(), code(first).map(str::as_bytes), Level::Full);
        assert_eq!(key.to_string(), after, "{before}");
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}

/// Bytes that rules look at, so that chance reaches them.
fn address() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "[a-zA-Z0-9=+@._*%#~/<>\"-]{0,40}".prop_map(String::into_bytes),
        "[0-9a-f]{1,40}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            "SRS0=",
            "SRS1+",
            "+SRS=",
            "prvs=",
            "btv1==",
            "msprvs1=",
            "bounces+",
            "-return-",
            "==a==",
            "=40",
            "_at_",
            "**",
            "bob=b.example",
            "@bounces.d.example",
            "@d.example",
            "mail77.",
            "==_",
            "1234567",
            "\0",
        ])
        .prop_map(|piece: &str| piece.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn level() -> impl Strategy<Value = Level> {
    prop::sample::select(vec![Level::Full, Level::Unwrap, Level::Exact])
}

/// The domain of a sender in any form: the last label survives.
fn last_label(address: &[u8]) -> Option<Vec<u8>> {
    let domain = address.rsplit(|&byte| byte == b'@').next().filter(|domain| domain.len() < address.len())?;
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    domain.rsplit(|&byte| byte == b'.').next().map(<[u8]>::to_ascii_lowercase)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Any bytes have a key, hardly longer than they; explaining gives the same one.
    #[test]
    fn any_bytes_have_a_key(sender in address(), recipient in prop::option::of(address()), level in level()) {
        let key = normalise(&sender, recipient.as_deref(), level);
        prop_assert!(key.as_bytes().len() <= sender.len() + 2);
        prop_assert_eq!(&explain(&sender, recipient.as_deref(), level).key, &key);
        prop_assert!(key.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
    }

    /// ASCII case does not matter, in sender and recipient.
    #[test]
    fn case_does_not_matter(sender in address(), recipient in address(), level in level()) {
        let key = normalise(&sender, Some(&recipient), level);
        prop_assert_eq!(&normalise(&sender.to_ascii_uppercase(), Some(&recipient.to_ascii_uppercase()), level), &key);
    }

    /// The domain stays in some form.
    #[test]
    fn domain_stays(local in address(), domain in "([a-z0-9-]{1,12}[.]){0,4}[a-z]{2,5}", recipient in prop::option::of(address())) {
        let sender = [&local[..], b"@", domain.as_bytes()].concat();
        let key = normalise(&sender, recipient.as_deref(), Level::Full);
        let label = last_label(&sender).unwrap();
        prop_assert!(key.as_bytes().windows(label.len()).any(|window| window == label), "{}", key);
    }

    /// Two addresses of letters alone never merge, unless a word says that one is for bounces, or they are one
    /// mailbox with a list and a domain behind its `+`.
    #[test]
    fn letters_never_merge(one in "[a-m]{1,30}([-._+][a-m]{1,12}){0,4}", other in "[a-m]{1,30}([-._+][a-m]{1,12}){0,4}", domain in "[a-m]{2,9}[.][a-m]{2,3}") {
        let key = |local: &str| normalise(format!("{local}@{domain}").as_bytes(), None, Level::Full);
        prop_assert_eq!(key(&one) == key(&other), one == other);
    }

    /// Different keys print differently: what is printed can be told apart.
    #[test]
    fn printed_keys_differ(one in address(), other in address()) {
        let (one, other) = (normalise(&one, None, Level::Full), normalise(&other, None, Level::Full));
        prop_assert_eq!(one.to_string() == other.to_string(), one == other);
    }
}
