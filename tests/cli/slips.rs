//! What administrators get wrong, and what they are told. Whatever says that something was done has done it, and
//! whatever has done something says so.

use super::common::{Place, as_store_user};
use super::{done, eximgrey, filled};
use eximgrey::memory::Access;
use eximgrey::store::{Store, Table};
use eximgrey::time::Timestamp;
use std::process::Command;

/// Command line, exit status, and what is said, on the standard output where the status is 0 or 1, else on the
/// standard error. `{file}` is a file with the text of the last column.
type Slip = (&'static [&'static str], i32, &'static str, &'static str);

const ENTRIES: &[Slip] = &[
    // Networks.
    (&["whitelist", "add", "client", "192.168"], 0, "added: client 192.168.0.0/16\n", ""),
    (&["whitelist", "add", "192.168."], 0, "already there: client 192.168.0.0/16\n", ""),
    (&["whitelist", "add", "192.168/16"], 0, "already there: client 192.168.0.0/16\n", ""),
    (&["whitelist", "add", "192.0.2."], 0, "added: client 192.0.2.0/24\n", ""),
    (&["whitelist", "add", "192.0.2.*"], 0, "already there: client 192.0.2.0/24\n", ""),
    (&["whitelist", "add", "192.0.2.77/24"], 0, "already there: client 192.0.2.0/24\n", ""),
    (&["whitelist", "add", "10.0.0.0/255.0.0.0"], 0, "added: client 10.0.0.0/8\n", ""),
    (&["whitelist", "add", "client", "::ffff:203.0.113.9"], 0, "added: client 203.0.113.9/32\n", ""),
    (&["whitelist", "add", "client", "[203.0.113.9]:1234"], 0, "already there: client 203.0.113.9/32\n", ""),
    (&["whitelist", "add", "H=mx.x.example [203.0.113.10]"], 0, "added: client 203.0.113.10/32\n", ""),
    (&["whitelist", "add", "[2001:DB8::1]"], 0, "added: client 2001:db8::1/128\n", ""),
    (&["whitelist", "add", "client", "001.002.003.004"], 2, "expected 1.2.3.4, without zeros in front", ""),
    (&["whitelist", "add", "1.2.3.4-1.2.3.9"], 2, "each in an entry of its own: 1.2.3.4/30 1.2.3.8/31", ""),
    (&["whitelist", "add", "1.2.3.4,1.2.3.9"], 2, "expected", ""),
    (&["whitelist", "add", "client", "192.0.2.256"], 2, "numbers up to 255", ""),
    (&["whitelist", "add", "client", "0.0.0.0/0"], 2, "`mode = \"off\"`", ""),
    (&["whitelist", "add", "client", "mx.x.example"], 2, "a name is of the kind host", ""),
    // Names.
    (&["whitelist", "add", "host", "192.0.2.7"], 2, "of the kind client", ""),
    (&["whitelist", "add", "host", "192.168"], 2, "of the kind client", ""),
    (
        &["whitelist", "add", "host", "*.partner.example"],
        0,
        "added: host partner.example, and all below it\n",
        "",
    ),
    (&["whitelist", "add", "host", ".Partner.example."], 0, "already there: host partner.example", ""),
    (&["whitelist", "add", "host", "b\u{fc}cher.example"], 0, "added: host xn--bcher-kva.example", ""),
    (&["whitelist", "add", "host", "mx*.partner.example"], 2, "no pattern", ""),
    (&["whitelist", "add", "host", "localhost"], 2, "a domain such as example.org", ""),
    (&["whitelist", "add", "spf", "alice@partner.example"], 2, "of the kind sender or recipient", ""),
    (&["whitelist", "add", "partner.example"], 2, "of the kind host, spf, dkim, sender or recipient", ""),
    // Addresses.
    (
        &["whitelist", "add", "sender", "*@x.example"],
        0,
        "added: sender x.example, and all below it; where SPF",
        "",
    ),
    (&["whitelist", "add", "sender", "@x.example"], 0, "already there: sender x.example", ""),
    (&["whitelist", "add", "sender", "<Alice@X.example>"], 0, "added: sender alice@x.example; where SPF", ""),
    (&["whitelist", "add", "sender", "<>"], 2, "the null sender", ""),
    (&["whitelist", "add", "recipient", "a@x.example,b@x.example"], 2, "each in an entry of its own", ""),
    (
        &["whitelist", "add", "recipient", "mailto:bob@b\u{fc}cher.example"],
        0,
        "added: recipient bob@xn--bcher-kva.example\n",
        "",
    ),
    (
        &["whitelist", "add", "recipient", "\u{2018}<Bob@b\u{fc}cher.example.>\u{2019}"],
        0,
        "already there: recipient",
        "",
    ),
    (
        &["whitelist", "add", "host", "*.b\u{fc}cher.example"],
        0,
        "already there: host xn--bcher-kva.example",
        "",
    ),
    (&["whitelist", "add", "host", "*partner.example"], 2, "no pattern", ""),
    (&["whitelist", "add", "bob@"], 0, "added: recipient bob@\n", ""),
    (&["whitelist", "add", "bob@x.example"], 2, "of the kind sender or recipient", ""),
    (&["whitelist", "add", "recipient"], 2, "expected an entry behind the kind", ""),
    (&["whitelist", "add", "rcpt", "bob@x.example"], 2, "\"sender\" or \"recipient\"", ""),
    (&["whitelist", "add", "bob@", "--for", "30"], 2, "30d for days", ""),
    (&["whitelist", "add", "bob@", "--for", "0d"], 2, "expected a time such as 30d", ""),
    (&["whitelist", "add", "bob@", "--comment", "why"], 0, "changed: recipient bob@\n", ""),
    (&["whitelist", "add", "bob@"], 0, "already there: recipient bob@\n", ""),
    (&["whitelist", "remove", "<bob@>"], 0, "removed: recipient bob@\n", ""),
    (&["whitelist", "remove", "bob@"], 1, "not on the whitelist: recipient bob@\n", ""),
    (&["whitelist", "remove", "host", "192.168"], 2, "of the kind client", ""),
    (&["whitelist", "list", "rcpt=bob"], 2, "expected client=, sender= or recipient=", ""),
    (&["whitelist", "list", "nobody@nowhere.example"], 1, "", ""),
    // Files.
    (
        &["whitelist", "import", "{file}"],
        1,
        "3 entries added, 1 already there\n",
        "\u{feff}new.example\n172.16\n192.0.2\n001.2.3.4\n/^mx/\nlocalhost\nb\u{fc}ro.example # an office\n",
    ),
    (
        &["whitelist", "import", "{file}"],
        0,
        "0 entries added, 2 already there\n",
        "new.example # B\u{fc}ro\nb\u{fc}ro.example # @B\u{fc}ro\n",
    ),
    (
        &["whitelist", "import", "--recipients", "{file}"],
        0,
        "2 entries added\n",
        "\u{feff}# ours\npostmaster@\n@all.example\n",
    ),
    (&["whitelist", "list", "new.example"], 0, "host new.example 20", ""),
    (&["whitelist", "list", "b\u{fc}ro"], 1, "", ""),
    (&["whitelist", "import", "{file}"], 0, "1 entries added\n", "third.example # @B\u{fc}ro\n"),
    (&["whitelist", "list", "@B\u{fc}ro"], 0, "host third.example 20", ""),
    (&["whitelist", "import", "/nonexistent"], 2, "No such file", ""),
];

const MAIL: &[Slip] = &[
    (
        &["release", "<early@sender.example>", " Bob@Rcpt.example. "],
        0,
        "released: early@sender.example to Bob@rcpt.example, for 2d\n1 first attempt waits for it; the next retry is answered:\n",
        "",
    ),
    (
        &["release", "mailto:ripe@sender.example", "<bob@rcpt.example>"],
        0,
        ": action=pass reason=released\n",
        "",
    ),
    (&["release", "<>", "bob@rcpt.example"], 0, "1 first attempt waits for it", ""),
    (
        &["release", "erly@sender.example", "carol@rcpt.example"],
        0,
        "nothing waits for it now; a first attempt is answered: action=pass reason=released\nwhat waits and looks alike",
        "",
    ),
    (&["release", "a@nowhere.example", "b@nowhere.example"], 0, "nothing waits for it now", ""),
    (&["release", "alice@sender.example"], 2, "expected a recipient, too", ""),
    (&["release", "[198.51.100.1]"], 2, "eximgrey release --client 198.51.100.1", ""),
    (&["release", "--client", "H=mx [198.51.100.1]:25"], 0, "3 first attempts wait for it", ""),
    (&["release", "--client", "mx.x.example"], 2, "is no IP address", ""),
    (&["release", "alice", "bob@rcpt.example"], 2, "expected a sender's address", ""),
    (&["release", "alice@sender.example", "<>"], 2, "expected a recipient's address", ""),
    (&["release", "a@x.example", "b@rcpt.example,c@rcpt.example"], 2, "expected a recipient's address", ""),
    (&["trap", "[198.51.100.99]:25"], 0, "trapped: 198.51.100.0/24, until 20", ""),
    (&["trap", "198.51.100."], 0, "trapped: 198.51.100.0/24, until 20", ""),
    (
        &["release", "--client", "::ffff:198.51.100.1", "x@sender.example", "bob@rcpt.example"],
        0,
        "nothing waits for it now; a first attempt is answered: action=defer reason=trapped",
        "",
    ),
    (&["trap", "198.51"], 2, "such as 198.51.0.0/24", ""),
    (&["trap", "mx.x.example"], 2, "is no IP address", ""),
    (&["trap", "203.0.113.7"], 1, "not trapped: 203.0.113.0/24 has proved itself", ""),
    (
        &["forget", "<alice@sender.example>", "BOB@rcpt.example."],
        0,
        "forgotten: alice@sender.example to BOB@rcpt.example\n",
        "",
    ),
    (&["forget", "<alice@sender.example>", "BOB@rcpt.example."], 1, "nothing is known of", ""),
    (&["forget", "*.Proved.example."], 0, "forgotten: proved.example\n", ""),
    (&["forget", "[203.0.113.7]"], 0, "forgotten: 203.0.113.0/24\n", ""),
    (&["forget", "203.0.113"], 1, "nothing is known of 203.0.113.0/24\n", ""),
    (&["forget", "alice@sender.example"], 2, "or SENDER RECIPIENT", ""),
    (&["forget", "alice", "bob@rcpt.example"], 2, "expected a sender's address", ""),
    (&["list", "recipient=<Bob@rcpt.example>"], 0, " early@sender.example bob@rcpt.example\n", ""),
    (&["list", "client=[198.51.100.1]:25"], 0, " ripe@Sender.example ", ""),
    (&["list", "sender=<>"], 0, " <> bob@rcpt.example\n", ""),
    (&["list", "recipient=nobody@rcpt.example"], 1, "", ""),
    (&["list", "to=bob"], 2, "to=bob: expected client=, sender= or recipient=", ""),
    (&["list", "pendign"], 2, "expected \"pending\", \"known\"", ""),
    (&["list", "--since", "2"], 2, "2h for hours", ""),
    (&["list", "--limit", "0"], 2, "--limit", ""),
    (&["list", "--sort", "time"], 2, "newest", ""),
    (
        &["explain", "H=mx (x) [198.51.100.1]:1234", "<early@sender.example>", "mailto:bob@rcpt.example"],
        0,
        "reason=trapped",
        "",
    ),
    (&["normalize", "<b-return-123@d.example>"], 0, "b-return-123@d.example\tb-return-\\*@d.example\n", ""),
];

const KEYS: &[(&str, i32, &str)] = &[
    ("*@d.example", 0, "\"d.example\" = \"off\"\n"),
    ("@d.example", 0, "\"d.example\" = \"off\"\n"),
    ("<bob@d.example>", 0, "\"bob@d.example\" = \"off\"\n"),
    ("d.example.", 0, "\"d.example\" = \"off\"\n"),
    ("bob@", 1, "can only be on the whitelist"),
    ("a@d.example,b@d.example", 1, "one address or domain"),
    ("*.d.example", 1, "and no pattern"),
];

/// All that a command may have changed.
fn content(place: &Place) -> Vec<String> {
    as_store_user(|| {
        let store = Store::open(&place.settings().store, Access::Look, Timestamp::now());
        let Some(store) = store.expect("the store can be opened") else { return Vec::new() };
        let mut all = Vec::new();
        // The second in which it was made says nothing.
        store.scan_entries(|entry| all.push(format!("{:?} {:?}", entry.kind, entry.texts))).unwrap();
        store
            .scan(Table::Known, |key, _| {
                all.push(format!("{key:?}"));
                true
            })
            .unwrap();
        all.sort();
        all
    })
}

const DONE: [&str; 6] = ["added: ", "changed: ", "removed: ", "released: ", "trapped: ", "forgotten: "];

fn check(place: &Place, slips: &[Slip]) {
    for (command, code, said, file) in slips {
        let path = place.path("file");
        std::fs::write(&path, file).unwrap();
        let arguments: Vec<_> = command
            .iter()
            .map(|&word| if word == "{file}" { path.to_str().unwrap() } else { word })
            .collect();
        let before = content(place);
        let told = eximgrey(place, &arguments);
        let after = content(place);
        let text = if *code == 2 { &told.err } else { &told.out };
        assert_eq!(told.code, Some(*code), "{command:?}: {}{}", told.out, told.err);
        assert!(text.contains(said), "{command:?}: {}{}", told.out, told.err);
        let says = DONE.iter().any(|word| told.out.starts_with(word))
            || told.out.contains(" entries added") && !told.out.starts_with("0 ");
        // A trap may be renewed.
        if !told.out.starts_with("trapped: ") {
            assert_eq!(before != after, says, "{command:?}: {}", told.out);
        }
        assert!(*code == 0 || !told.err.is_empty() || !told.out.is_empty() || command.contains(&"list"));
    }
}

#[test]
fn entries_that_could_never_match_become_what_was_meant_or_are_refused() {
    assert!(ENTRIES.len() + MAIL.len() + KEYS.len() >= 60);
    check(&Place::new(""), ENTRIES);
}

#[test]
fn addresses_and_clients_are_taken_as_they_are_shown() {
    check(&filled(), MAIL);
}

#[test]
fn recipients_of_the_file_become_what_was_meant_or_are_refused() {
    for (key, code, said) in KEYS {
        let place = Place::new(&format!("[recipients]\n\"{key}\" = \"off\""));
        let told = eximgrey(&place, &["check-config"]);
        assert_eq!(told.code, Some(*code), "{key}: {}", told.err);
        assert!(
            if *code == 0 { &told.out } else { &told.err }.contains(said),
            "{key}: {}{}",
            told.out,
            told.err
        );
    }
}

/// Where the store keeps no addresses, nobody is told that nothing waits.
#[test]
fn what_a_store_without_addresses_cannot_say_is_said() {
    let place = Place::new("privacy = true");
    place.decide(&[(Timestamp::now().0, &[&b"192.0.2.7"[..], b"a@x.example", b"b@y.example"])]);
    let told = eximgrey(&place, &["list", "recipient=b@y.example"]);
    assert_eq!((told.code, told.out.as_str()), (Some(1), ""));
    assert!(told.err.contains("the store keeps no addresses"), "{}", told.err);
    let told = eximgrey(&place, &["release", "a@x.example", "b@y.example"]);
    assert!(told.code == Some(0) && told.out.contains("what waits for it is not known"), "{}", told.out);
    let answer = eximgrey(&place, &["explain", "192.0.2.7", "a@x.example", "b@y.example"]).out;
    assert!(answer.contains("reason=released"), "{answer}");
}

/// Each line that an import leaves out is named, in a line of its own.
#[test]
fn an_import_names_what_it_left_out() {
    let place = Place::new("");
    let path = place.path("file");
    std::fs::write(&path, "\u{feff}a.example\n001.2.3.4\n\n/^mx/\nlocal\u{7}host\n").unwrap();
    let path = path.to_str().unwrap();
    let told = eximgrey(&place, &["whitelist", "import", path]);
    let lines: Vec<_> = told.err.lines().collect();
    assert_eq!((told.out.as_str(), lines.len()), ("1 entries added\n", 4), "{}", told.err);
    assert_eq!(lines[0], "eximgrey: 3 lines were left out:");
    for (line, place) in lines[1..].iter().zip(["2", "4", "5"]) {
        assert!(line.starts_with(&format!("{path}:{place}: expected ")), "{line}");
    }
}

/// On a terminal a listing has headings and the newest first; into a pipe it is what it always was.
#[test]
fn a_listing_on_a_terminal_is_for_people() {
    let place = filled();
    let on_terminal = |arguments: &[&str]| {
        let config = place.config();
        let words = [arguments, &["--config", config.to_str().unwrap()]].concat();
        let command = [&[env!("CARGO_BIN_EXE_eximgrey")], &words[..]].concat().join(" ");
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env("PAGER", "cat").env("NO_COLOR", "1");
        let told = done(&mut script);
        (told.code, told.out.replace('\r', ""))
    };
    let (code, text) = on_terminal(&["list"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 6), "{text}");
    let headings: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(headings, ["FIRST-SEEN", "WAIT", "BY", "IDENTITY", "SENDER", "RECIPIENT"]);
    assert!(lines[5].contains(" ripe@Sender.example "), "the oldest last: {text}");
    let column = lines[0].find("SENDER").unwrap();
    assert!(lines[1..].iter().all(|line| line.as_bytes()[column - 1] == b' '), "{text}");

    let (_, text) = on_terminal(&["list", "--limit", "2"]);
    assert!(text.lines().count() == 4 && text.ends_with("... and 3 more (--limit)\n"), "{text}");
    let (code, text) = on_terminal(&["list", "recipient=nobody"]);
    assert_eq!((code, text.as_str()), (Some(1), "nothing waits that matches\n"));
    assert_eq!(on_terminal(&["list", "trapped"]).1, "nothing is trapped\n");
    assert_eq!(on_terminal(&["whitelist", "list"]).1, "the whitelist is empty\n");
    assert!(on_terminal(&["list", "known"]).1.starts_with("FIRST-SEEN           LAST-SEEN "));
    assert!(on_terminal(&["list", "--json"]).1.starts_with('{'));

    // A released mail shows so.
    eximgrey(&place, &["release", "ripe@sender.example", "bob@rcpt.example"]);
    let (_, text) = on_terminal(&["list", "ripe"]);
    assert_eq!(text.lines().count(), 1, "a word alone is a slip: {text}");
    let text = eximgrey(&place, &["list", "sender=ripe"]).out;
    assert!(text.contains("Z released network 198.51.100.0/24 ripe@Sender.example "), "{text}");
    let json = eximgrey(&place, &["list", "--json", "sender=ripe"]).json();
    assert!(json[0]["released"].as_u64() > Some(Timestamp::now().0.into()), "{json:?}");
}

/// The orders of a listing, and its ends.
#[test]
fn a_listing_is_sorted_as_asked() {
    let place = filled();
    let column = |place: usize, listed: &str| -> Vec<String> {
        listed.lines().map(|line| line.split_whitespace().nth(place).unwrap().to_owned()).collect()
    };
    let list = |arguments: &[&str]| eximgrey(&place, &[&["list", "known"], arguments].concat()).out;
    for (sort, place, reversed) in [("newest", 1, true), ("oldest", 1, false), ("recipient", 5, false)] {
        let found = column(place, &list(&["--sort", sort]));
        let mut sorted = found.clone();
        sorted.sort();
        if reversed {
            sorted.reverse();
        }
        assert_eq!((found.len(), &found), (11, &sorted), "{sort}");
    }
    assert_eq!(column(3, &list(&["--sort", "client", "--limit", "1"])), ["192.0.2.0/24"]);
    assert_eq!(column(4, &list(&["--sort", "sender", "--limit", "11"]))[10], "alice@sender.example");
    let newest = column(1, &list(&["--sort", "newest"]));
    assert_eq!(column(1, &list(&["--limit", "3"])), newest[..3]);
    // One mail passed an hour ago, the last of the others an hour and fifty minutes.
    assert_eq!(column(4, &list(&["--since", "90m"])), ["alice@sender.example"]);
    assert_eq!(eximgrey(&place, &["list", "known", "--since", "1m"]).code, Some(1));
}
