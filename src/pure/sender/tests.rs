//! What the tests of the families share, and tests of the frame around them.

use super::*;
use crate::words::Word;

/// The printed key, without a recipient.
pub(super) fn key(sender: &str) -> String {
    normalise(sender.as_bytes(), None, Level::Full).to_string()
}

/// The printed key, with the recipient known.
pub(super) fn key_to(sender: &str, recipient: &str) -> String {
    normalise(sender.as_bytes(), Some(recipient.as_bytes()), Level::Full).to_string()
}

/// Checks a table of senders and printed keys, and that one of the rules that fired is the named one.
pub(super) fn assert_table(rule: Rule, table: &[(&str, &str)]) {
    for (sender, expected) in table {
        let explanation = explain(sender.as_bytes(), None, Level::Full);
        assert_eq!(explanation.key.to_string(), *expected, "{sender}");
        assert!(explanation.steps.iter().any(|step| step.rule == rule), "{sender}: {:?}", explanation.steps);
    }
}

/// Checks that nothing but the case of each sender changes.
pub(super) fn assert_left_alone(senders: &[&str]) {
    for sender in senders {
        assert_eq!(key(sender), Printable(sender.to_ascii_lowercase().as_bytes()).to_string(), "{sender}");
    }
}

/// A person's address is its own key, in lower case and without the root's dot.
#[test]
fn plain_address_is_its_key() {
    assert_eq!(key("Alice.Brown@Example.ORG."), "alice.brown@example.org");
    assert_eq!(key("\"john.smith\"@example.org"), "john.smith@example.org");
    assert_left_alone(&[
        "\"john smith\"@example.org",
        "\"john..smith\"@example.org",
        "\"bounces-123456 x\"@example.org",
        "alice",
        "bounces-123456",
        "@example.org",
        "bounces-123456@",
        "a@b@example.org",
    ]);
}

/// Bounces have one key, written with or without brackets.
#[test]
fn null_sender_has_a_key() {
    assert_eq!(key(""), "<>");
    assert_eq!(key("<>"), "<>");
    assert_eq!(key("<alice@example.org>"), "alice@example.org");
    assert!(normalise(b"", None, Level::Full).as_bytes().is_empty());
}

/// The level decides how much is done.
#[test]
fn levels_differ() {
    let at =
        |level| normalise(b"prvs=0123456789=List-bounces+A=b.example@C.example", None, level).to_string();
    assert_eq!(at(Level::Full), "list-bounces+\\*@c.example");
    assert_eq!(at(Level::Unwrap), "list-bounces+a=b.example@c.example");
    assert_eq!(at(Level::Exact), "prvs=0123456789=list-bounces+a=b.example@c.example");
    for level in [Level::Full, Level::Unwrap, Level::Exact] {
        assert_eq!(normalise(b"Alice@Example.ORG.", None, level).to_string(), "alice@example.org");
        assert_eq!(normalise(b"alice.", None, level).to_string(), "alice.");
    }
    assert_eq!(Level::from_word(b"full"), Some(Level::Full));
    assert_eq!(Level::from_word(b"unwrap"), Some(Level::Unwrap));
    assert_eq!(Level::from_word(b"exact"), Some(Level::Exact));
    assert_eq!(Level::from_word(b"Full"), None);
}

/// Only so many layers are undone, and only addresses of a sane length.
#[test]
fn work_is_bounded() {
    let layers = |n: usize| format!("{}alice@d.example", "prvs=0123456789=".repeat(n));
    assert_eq!(key(&layers(3)), "alice@d.example");
    assert_ne!(key(&layers(4)), "alice@d.example");

    let of_length = |n: usize| format!("{}@d.example", "bounces-7".repeat(n).get(..n - 10).unwrap());
    assert!(key(&of_length(512)).contains("\\*"));
    assert_eq!(key(&of_length(513)), of_length(513));
    let megabyte = "A1-".repeat(350_000);
    assert_eq!(key(&megabyte), megabyte.to_ascii_lowercase());
}

/// Nobody can write a mask: what looks like one is another key.
#[test]
fn mask_cannot_be_forged() {
    let masked = normalise(b"bounces-123456@d.example", None, Level::Full);
    for level in [Level::Full, Level::Exact] {
        let forged = normalise(masked.as_bytes(), None, level);
        assert_ne!(forged, masked);
        assert_eq!(forged.to_string(), "\\*\\*bounces-\\*@d.example");
    }
    assert_eq!(key("bounces-\\*@d.example"), "bounces-\\\\*@d.example");
}

/// A key prints as ASCII without blanks, and different bytes differently.
#[test]
fn printed_key_is_safe() {
    assert_eq!(key("a b\n\u{1b}\\é@d.example"), "a\\x20b\\x0a\\x1b\\\\\\xc3\\xa9@d.example");
    assert_eq!(Printable(b"\0\x7f~").to_string(), "\\x00\\x7f~");
}

/// Explaining takes the same way as normalising, and tells what each rule took.
#[test]
fn explanation_tells_each_step() {
    let sender = b"SRS0=ab=QX=lists.example=\"x-return-12-a=b.example\"@Fwd.example";
    let told = explain(sender, Some(b"a@b.example"), Level::Full);
    assert_eq!(told.key, normalise(sender, Some(b"a@b.example"), Level::Full));
    let steps: Vec<_> = told.steps.iter().map(|s| (s.rule.word(), Printable(&s.taken).to_string())).collect();
    assert_eq!(steps, [("srs", "srs0=ab=QX=lists.example=".to_ascii_lowercase())]);

    let told = explain(
        b"\"prvs=0123456789=l-return-12-a=b.example\"@mail77.c.example",
        Some(b"a@b.example"),
        Level::Full,
    );
    let steps: Vec<_> = told.steps.iter().map(|s| (s.rule.word(), Printable(&s.taken).to_string())).collect();
    let expected = [
        ("unquote", "\"\""),
        ("batv", "prvs=0123456789="),
        ("recipient", "a=b.example"),
        ("bounce", "12-a=b.example"),
        ("machine", "mail77"),
    ];
    assert_eq!(steps, expected.map(|(rule, taken)| (rule, taken.to_owned())));
    assert_eq!(told.key.to_string(), "l-return-\\*@\\*.c.example");
}
