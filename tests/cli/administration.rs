//! What the administrator changes: the whitelist, releases, traps. Each takes effect with the next decision.

use super::common::{Place, as_store_user};
use super::{Done, eximgrey};
use eximgrey::memory::Access;
use eximgrey::reply::Effect;
use eximgrey::session::Session;
use eximgrey::store::entries::{Entry, Kind};
use eximgrey::store::lmdb::{Patience, Writer};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::whitelist::ListKind;

const NEW: &str = "action=defer reason=new wait=300";

/// What Exim would be answered now.
fn answer(place: &Place, arguments: &[&str]) -> String {
    let explained = eximgrey(place, &[&["explain"], arguments].concat());
    assert_eq!(explained.code, Some(0), "{}", explained.err);
    let line = explained.out.lines().find_map(|line| line.strip_prefix("answer")).expect("an answer");
    line.trim().to_owned()
}

fn write(place: &Place, name: &str, content: &str) -> String {
    let path = place.path(name);
    std::fs::write(&path, content).expect("the file can be written");
    path.to_str().expect("a path of ASCII").to_owned()
}

const TRIPLET: [&str; 3] = ["192.0.2.7", "alice@sender.example", "bob@rcpt.example"];

fn does(place: &Place, arguments: &[&str]) -> Done {
    let done = eximgrey(place, arguments);
    assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.err);
    done
}

/// An entry of the whitelist counts at once, is listed with its comment, and is gone when it is removed.
#[test]
fn the_whitelist_is_live() {
    let place = Place::new("");
    for (kind, entry, shown, options) in [
        ("client", "192.0.2.0/24", "192.0.2.0/24", &[][..]),
        ("host", "Host.example", "host.example", &["host=mx.host.example"]),
        ("spf", "sender.example", "sender.example", &["spf=mail.sender.example"]),
        ("dkim", "sender.example", "sender.example", &["dkim=sender.example"]),
        ("sender", "alice@sender.example", "alice@sender.example", &["spf=sender.example"]),
        ("recipient", "bob@", "bob@", &[]),
    ] {
        let asked = [&TRIPLET[..], options].concat();
        assert_eq!(answer(&place, &asked), NEW, "{kind}");
        does(&place, &["whitelist", "add", kind, entry, "--comment", "see ticket\n7"]);
        assert_eq!(answer(&place, &asked), "action=pass reason=whitelisted", "{kind}");
        let listed = does(&place, &["whitelist", "list", "ticket"]).out;
        assert!(listed.starts_with(&format!("{kind} {shown} 20")), "{listed:?}");
        assert!(listed.ends_with(" - - see ticket?7\n"), "{listed:?}");
        assert_eq!(does(&place, &["list", "whitelist"]).out, listed);
        let json = does(&place, &["whitelist", "list", "--json"]).json();
        assert_eq!((&json[0]["kind"], &json[0]["entry"]), (&kind.into(), &shown.into()));
        does(&place, &["whitelist", "remove", kind, entry]);
        assert_eq!(answer(&place, &asked), NEW, "{kind}");
        assert_eq!(eximgrey(&place, &["whitelist", "remove", kind, entry]).code, Some(1));
        assert_eq!(eximgrey(&place, &["whitelist", "list"]).code, Some(1));
    }
}

/// The whitelist is filtered as every other listing is, by whichever command it is listed.
#[test]
fn the_whitelist_takes_the_filters_of_every_listing() {
    let place = Place::new("");
    for (kind, entry, comment) in [
        ("client", "192.0.2.0/24", "was 203.0.113.9"),
        ("spf", "partner.example", "Ticket 7"),
        ("sender", "alice@partner.example", ""),
        ("recipient", "bob@", "ticket 8"),
    ] {
        does(&place, &["whitelist", "add", kind, entry, "--comment", comment]);
    }
    for (filters, kinds) in [
        (&["client=192.0.2.7"][..], "client"),
        (&["192.0.2.7"], "client"),
        (&["203.0.113.9"], "client"),
        (&["client=192.0.2.0/24"], "client"),
        (&["client=Partner.example"], "spf"),
        (&["sender=ALICE"], "sender"),
        (&["recipient=bob"], "recipient"),
        (&["partner"], "spf sender"),
        (&["ticket"], "spf recipient"),
        (&["ticket", "recipient=b"], "recipient"),
        (&["client=192.0.3.7"], ""),
        (&["client=alice"], ""),
        (&["sender=bob"], ""),
        (&["client=ticket"], ""),
    ] {
        for command in [&["whitelist", "list"][..], &["list", "whitelist"]] {
            let listed = eximgrey(&place, &[command, filters].concat());
            let words: Vec<&str> = listed.lines().iter().filter_map(|line| line.split(' ').next()).collect();
            assert_eq!(words.join(" "), kinds, "{filters:?}");
            assert_eq!(listed.code, Some(i32::from(kinds.is_empty())), "{filters:?}");
        }
    }
}

/// A sender's entry counts only where its domain is vouched for, unless the administrator insists; an entry may lapse.
#[test]
fn a_forged_sender_is_not_on_the_whitelist() {
    let place = Place::new("");
    does(&place, &["whitelist", "add", "sender", "sender.example", "--for", "30d"]);
    assert_eq!(answer(&place, &TRIPLET), NEW);
    let listed = does(&place, &["whitelist", "list"]).out;
    assert!(!listed.contains(" - - "), "{listed:?}");
    does(&place, &["whitelist", "add", "sender", "sender.example", "--unauthenticated"]);
    assert_eq!(answer(&place, &TRIPLET), "action=pass reason=whitelisted");
    assert!(does(&place, &["whitelist", "list"]).out.contains(" unauthenticated"));
}

/// What is no entry is refused with what was expected, and nothing is changed.
#[test]
fn what_is_no_entry_is_refused() {
    let place = Place::new("");
    for (arguments, expected) in [
        (&["client", "everybody"][..], "expected an IP address or network"),
        (&["client", "0.0.0.0/0"], "expected an IP address or network"),
        (&["host", "localhost"], "expected a domain"),
        (&["recipient", "a@b@"], "expected an address"),
        (&["client", "192.0.2.1", "--for", "soon"], "expected a time such as 30d"),
        (&["client", "192.0.2.1", "--unauthenticated"], "--unauthenticated is for senders"),
    ] {
        let done = eximgrey(&place, &[&["whitelist", "add"], arguments].concat());
        assert_eq!(done.code, Some(2), "{arguments:?}");
        assert!(done.err.contains(expected), "{arguments:?}: {}", done.err);
    }
    assert_eq!(eximgrey(&place, &["whitelist", "list"]).code, Some(1));
}

/// postgrey's whitelist files are read; a line that cannot be is named with its file and number, and the rest is added.
#[test]
fn whitelists_of_postgrey_are_imported() {
    let place = Place::new("");
    let clients = write(&place, "clients", "# comment\nhost.example # a pool\n192.0.2\n/^mx\\d+\\.x$/\n");
    let done = eximgrey(&place, &["whitelist", "import", &clients]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), "2 entries added\n"), "{}", done.err);
    assert!(done.err.contains("clients:4: expected an entry that is no regular expression"), "{}", done.err);
    assert_eq!(answer(&place, &TRIPLET), "action=pass reason=whitelisted");
    let listed = does(&place, &["whitelist", "list", "host"]).out;
    assert!(listed.starts_with("host host.example ") && listed.ends_with(" a pool\n"), "{listed:?}");
    let recipients = write(&place, "recipients", "postmaster@\n");
    let import = ["whitelist", "import", "--recipients", &recipients];
    let done = does(&place, &import).out;
    let extensions = "recipient_delimiter = \"+\" in the configuration\n";
    assert!(done.contains(extensions) && done.ends_with("1 entries added\n"), "{done}");
    let plus = Place::new("recipient_delimiter = \"+\"");
    assert_eq!(does(&plus, &import).out, "1 entries added\n");
    let to = ["203.0.113.1", "x@y.example", "Postmaster@anywhere.example"];
    assert_eq!(answer(&place, &to), "action=pass reason=whitelisted");
}

/// Whitelists are imported as a whole, with one commit, or not at all.
#[test]
fn an_import_is_all_or_nothing() {
    let place = Place::new("");
    does(&place, &["whitelist", "add", "client", "192.0.2.1"]);
    let commits = || as_store_user(|| place.open().environment(Table::Known).unwrap().version());
    let before = commits();
    let lines: String = (0..300).map(|n| format!("host{n}.example\n")).collect();
    let clients = write(&place, "clients", &lines);
    assert_eq!(does(&place, &["whitelist", "import", &clients]).out, "300 entries added\n");
    assert_eq!(commits(), before + 1);

    // A record of a later version, in the place of one.
    as_store_user(|| {
        let store = place.open();
        let key = store.secret().listed(ListKind::Host, b"later.example");
        let change = |writer: &mut Writer<'_>| Ok(writer.put(&key.0, b"\x63 of a version to come")?);
        let env = store.environment(Table::Known).unwrap();
        env.write(Patience::UpTo(Seconds(9)), change).expect("the record can be written");
    });
    let more = write(&place, "more", "new.example\nlater.example\n");
    let too_many = write(&place, "many", &"new.example\n".repeat(50_001));
    for (files, sign) in [
        (&[&clients[..], &more][..], "is damaged"),
        (&[&more, "/nonexistent"], "/nonexistent: No such file"),
        (&[&too_many], "more than 50000 entries"),
    ] {
        let done = eximgrey(&place, &[&["whitelist", "import"], files].concat());
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{files:?}");
        assert!(done.err.contains(sign), "{}", done.err);
        assert_eq!(eximgrey(&place, &["whitelist", "list", "new.example"]).code, Some(1), "{files:?}");
    }
}

/// A released mail passes with its next retry; so does all mail of a released client, and its trap is lifted.
#[test]
fn what_is_released_passes() {
    let place = Place::new("");
    assert_eq!(answer(&place, &TRIPLET), NEW);
    let done = does(&place, &["release", "alice@sender.example", "bob@rcpt.example"]);
    let nothing = "nothing waits for it now; a first attempt is answered: action=pass reason=released\n";
    assert_eq!(done.out, format!("released: alice@sender.example to bob@rcpt.example, for 2d\n{nothing}"));
    assert_eq!(answer(&place, &TRIPLET), "action=pass reason=released");
    let other = ["192.0.2.7", "carol@sender.example", "bob@rcpt.example"];
    does(&place, &["release", "carol@sender.example", "bob@rcpt.example", "--client", "198.51.100.1"]);
    assert_eq!(answer(&place, &other), NEW);

    does(&place, &["trap", "192.0.2.9"]);
    assert!(answer(&place, &other).starts_with("action=defer reason=trapped wait=86"));
    let trapped = does(&place, &["list", "trapped", "client=192.0.2.1"]).out;
    assert!(trapped.ends_with(" 192.0.2.0/24\n"), "{trapped:?}");
    assert_eq!(eximgrey(&place, &["list", "trapped", "client=192.0.3.1"]).code, Some(1));
    let done = does(&place, &["release", "--client", "192.0.2.7"]);
    assert_eq!(done.out, format!("released: all mail from 192.0.2.0/24, for 2d\n{nothing}"));
    assert_eq!(answer(&place, &other), "action=pass reason=released");
    assert_eq!(eximgrey(&place, &["list", "trapped"]).code, Some(1));
}

/// A client is named by its address, or by a network of the size that clients are known by.
#[test]
fn a_client_that_is_none_is_wrong_usage() {
    let place = Place::new("");
    for (client, expected) in
        [("mx.host.example", "is no IP address"), ("192.0.0.0/16", "such as 192.0.0.0/24")]
    {
        for arguments in [&["trap", client][..], &["release", "--client", client]] {
            let done = eximgrey(&place, arguments);
            assert_eq!(done.code, Some(2), "{arguments:?}");
            assert!(done.err.contains(expected), "{}", done.err);
        }
    }
    assert_eq!(eximgrey(&place, &["release"]).code, Some(2));
    assert_eq!(eximgrey(&place, &["release", "a@b.example"]).code, Some(2));
}

/// A client that has proved itself is not trapped, and the command says so.
#[test]
fn a_client_that_has_proved_itself_is_not_trapped() {
    let place = super::filled();
    let done = eximgrey(&place, &["trap", "203.0.113.200"]);
    assert_eq!(done.code, Some(1));
    assert!(done.out.starts_with("not trapped: 203.0.113.0/24 has proved itself"), "{}", done.out);
    assert_eq!(eximgrey(&place, &["list", "trapped"]).code, Some(1));
}

/// `explain` names the rule: who wrote to whom, what is trapped, listed or released.
#[test]
fn explain_names_what_the_administrator_or_a_user_did() {
    let place = Place::new("");
    let because = |expected: &str| {
        let explained = does(&place, &[&["explain"], &TRIPLET[..]].concat()).out;
        let line = explained.lines().find_map(|line| line.strip_prefix("because")).expect("a reason").trim();
        assert!(line.contains(expected), "{line}");
        explained
    };
    because("no attempt is recorded");
    does(&place, &["release", "alice@sender.example", "bob@rcpt.example"]);
    assert!(because("the administrator released this mail").contains("released until 20"));

    let config = place.config_option();
    let told = as_store_user(|| {
        let arguments: [&[u8]; 3] = [b"Bob@rcpt.example", b"alice@sender.example", config.as_bytes()];
        Session::new().sent(&arguments, Access::Record, Timestamp::now())
    });
    assert_eq!(told.expect("the store can be told"), Effect::Recorded);
    assert!(because("the recipient wrote to this sender").contains("replies pass until 20"));

    does(&place, &["trap", "192.0.2.7"]);
    assert!(because("the client's network is trapped for another").contains("network trapped at 20"));
    does(&place, &["whitelist", "add", "recipient", "rcpt.example"]);
    because("the recipient is on the whitelist");
}

/// Who has proved itself is said by the rules in force: not where nobody can, nor where the last pass is too
/// long ago.
#[test]
fn who_has_proved_itself_is_said_as_it_is_decided() {
    let place = super::filled();
    assert_eq!(does(&place, &["list", "auto"]).lines().len(), 2);
    for rule in ["auto_after = 0", "lifetime = \"10m\"", "auto_after = 6"] {
        place.configure(rule);
        assert_eq!(eximgrey(&place, &["list", "auto"]).code, Some(1), "{rule}");
        assert_eq!(does(&place, &["list", "auto", "--all"]).lines().len(), 3, "{rule}");
        assert!(does(&place, &["status"]).out.contains(" of which 0 proved"), "{rule}");
    }
}

/// What has lapsed is no longer listed, nor a trap from a time to which the clock was set by mistake: nobody
/// waits for it.
#[test]
fn lapsed_entries_and_traps_are_not_listed() {
    let place = Place::new("");
    does(&place, &["whitelist", "add", "client", "192.0.2.1"]);
    does(&place, &["whitelist", "remove", "client", "192.0.2.1"]);
    let past = Timestamp(1_000_000_000);
    as_store_user(|| {
        let store = Store::open(&place.settings().store, Access::Record, past);
        let store = store.expect("the store can be opened").expect("there is a store");
        let tomorrow = Timestamp::now().plus(Seconds::DAY);
        for (kind, text, since) in [
            (Kind::Listed(ListKind::Host), "host.example", past),
            (Kind::Trap, "192.0.2.0/24", past),
            (Kind::Trap, "198.51.100.0/24", tomorrow),
        ] {
            let texts = [text.into(), Vec::new(), Vec::new()];
            let entry = Entry::new(kind, since, since.plus(Seconds::HOUR), texts);
            let change = |writer: &mut Writer<'_>| Ok(writer.put(text.as_bytes(), &entry.encode())?);
            store
                .environment(Table::Known)
                .unwrap()
                .write(Patience::UpTo(Seconds(9)), change)
                .expect("the record can be written");
        }
    });
    assert_eq!(eximgrey(&place, &["whitelist", "list"]).code, Some(1));
    assert_eq!(eximgrey(&place, &["list", "trapped"]).code, Some(1));
}

/// What is forgotten waits again; where there is nothing to forget, the command says so.
#[test]
fn what_is_forgotten_waits_again() {
    let place = Place::new("delay = \"0s\"\ntrust_known_domains = false\n");
    let mail = ["192.0.2.7", "alice@sender.example", "bob@rcpt.example", "spf=sender.example"];
    let pass = || {
        let answer = || {
            let bytes: Vec<&[u8]> = mail.iter().map(|argument| argument.as_bytes()).collect();
            let config = place.config_option();
            let arguments = [&bytes[..], &[config.as_bytes()]].concat();
            as_store_user(|| Session::new().answer(&arguments, Access::Record, Timestamp::now()).unwrap())
        };
        answer();
        answer();
        answer().to_string()
    };
    let refuses = |arguments: &[&str], code| {
        let done = eximgrey(&place, arguments);
        assert_eq!(done.code, Some(code), "{arguments:?}: {}", done.out);
        done
    };
    assert_eq!(pass(), "action=pass reason=known by=network");
    does(&place, &["forget", "Alice@sender.example", "bob@rcpt.example"]);
    assert!(answer(&place, &mail).starts_with("action=defer reason=new"));
    refuses(&["forget", "alice@sender.example", "bob@rcpt.example"], 1);

    pass();
    assert_eq!(does(&place, &["forget", "192.0.2.0/24"]).out, "forgotten: 192.0.2.0/24\n");
    assert_eq!(answer(&place, &mail), "action=pass reason=known by=spf");
    assert_eq!(does(&place, &["forget", "sender.example"]).out, "forgotten: sender.example\n");
    assert!(answer(&place, &mail).starts_with("action=defer reason=new"));
    let done = refuses(&["forget", "sender.example"], 1);
    assert_eq!(done.out, "nothing is known of sender.example\n");
    for wrong in ["alice@sender.example", "192.0.2.0/25", "nothing"] {
        refuses(&["forget", wrong], 2);
    }
}

/// `status` counts what the administrator has entered.
#[test]
fn status_counts_the_entries() {
    let place = Place::new("");
    assert!(!does(&place, &["status"]).out.contains("entries"));
    does(&place, &["whitelist", "add", "recipient", "bob@"]);
    does(&place, &["trap", "198.51.100.1"]);
    does(&place, &["release", "alice@sender.example", "bob@rcpt.example"]);
    let text = does(&place, &["status"]).out;
    assert!(text.contains("\nentries    1 whitelisted, 1 released, 1 trapped\n"), "{text}");
    let json = does(&place, &["status", "--json"]).json();
    assert_eq!((&json[0]["entries"]["whitelisted"], &json[0]["entries"]["replied"]), (&1.into(), &0.into()));
}

/// More retries pass in one second than are written to what is known at once: the command shows the others, too.
#[test]
fn what_is_queued_is_shown_as_what_it_will_be() {
    let place = Place::new("delay = \"0s\"\n");
    let config = place.config_option();
    let now = Timestamp::now();
    as_store_user(|| {
        let mut session = Session::new();
        for client in (1..=20).map(|n| format!("10.0.{n}.1")) {
            for reason in ["new", "retried"] {
                let mail: [&[u8]; 4] = [client.as_bytes(), b"a@x.example", b"b@y.example", config.as_bytes()];
                let answer = session.answer(&mail, Access::Record, now).unwrap().to_string();
                assert!(answer.contains(&format!("reason={reason}")), "{answer}");
            }
        }
    });
    assert_eq!(does(&place, &["list", "known"]).out.lines().count(), 20);
    assert_eq!(eximgrey(&place, &["list", "pending"]).code, Some(1), "nothing waits");
    assert!(does(&place, &["status"]).out.contains("20 triplets, 20 identities"));
}
