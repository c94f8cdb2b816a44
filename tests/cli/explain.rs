//! `eximgrey explain`: every verdict, with its rule in words.

use super::{HOSTILE, HOSTILE_SHOWN, HOUR, done, eximgrey, filled};
use crate::common::{Place, as_store_user};
use eximgrey::identity::{ClientNetwork, Identity, Prefixes};
use eximgrey::memory::{Event, Memory, Question, Scope};
use eximgrey::rules::Rules;
use eximgrey::sender::Level;
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Triplet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

const BOB: &str = "bob@rcpt.example";

/// Every verdict is explained: the answer that Exim would get, and the rule that decided.
#[test]
fn every_verdict_is_explained() {
    let place = filled();
    let before = place.tree();
    let cases: [(&[&str], &str, &str); 12] = [
        (
            &["192.0.2.1", "new@sender.example", BOB],
            "action=defer reason=new wait=300",
            "no attempt is recorded",
        ),
        (
            &["198.51.100.2", "early@sender.example", BOB],
            "action=defer reason=early wait=2",
            "less than the delay of 5m",
        ),
        (
            &["198.51.100.2", "ripe@sender.example", BOB],
            "action=pass reason=retried delay=36",
            "more than the delay of 5m, and the network matches",
        ),
        (
            &["2001:db8:1::1", "<>", BOB, "host=mx9.pool.example.com", "delay=0s"],
            "action=pass reason=retried delay=",
            "and the host matches",
        ),
        (
            &["192.0.2.1", "alice@sender.example", BOB],
            "action=pass reason=known by=network",
            "passed before with this network, last within the lifetime of 36d",
        ),
        (
            &["203.0.113.77", "any@where.example", BOB],
            "action=pass reason=auto by=network",
            "network has proved itself: at least 5 passes",
        ),
        (
            &["10.0.0.1", "any@where.example", BOB, "spf=proved.example"],
            "action=pass reason=auto by=spf",
            "spf has proved itself",
        ),
        (&["", "any@where.example", BOB], "action=pass reason=local", "local submission is never greylisted"),
        (
            &["192.0.2.1", "any@where.example", BOB, "mode=off"],
            "action=pass reason=off",
            "greylisting is off",
        ),
        (
            &["192.0.2.1", "any@where.example", BOB, "mode=observe"],
            "action=pass reason=new wait=300 would=defer",
            "observe mode: mail passes",
        ),
        // The window and the lifetime of this call have passed.
        (
            &["198.51.100.2", "ripe@sender.example", BOB, "window=30m"],
            "action=defer reason=new wait=300",
            "within the window of 30m",
        ),
        (
            &["192.0.2.1", "alice@sender.example", BOB, "lifetime=10m"],
            "action=defer reason=new wait=300",
            "no attempt is recorded",
        ),
    ];
    for (arguments, answer, because) in cases {
        let text = eximgrey(&place, &[&["explain"], arguments].concat());
        assert_eq!((text.code, text.err.as_str()), (Some(0), ""), "{arguments:?}");
        let line = |name: &str| {
            let found = text.out.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name}: {}", text.out)).trim_start()
        };
        assert!(line("answer ").starts_with(answer), "{arguments:?}: {}", text.out);
        assert!(line("because ").contains(because), "{arguments:?}: {}", text.out);

        let json = eximgrey(&place, &[&["explain", "--json"], arguments].concat());
        let [value] = &json.json()[..] else { panic!("{}", json.out) };
        // A second may have passed between the two.
        let reason = |text: &str| text.split(' ').take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(reason(value["answer"].as_str().unwrap()), reason(line("answer ")));
        assert!(value["because"].as_str().unwrap().contains(because), "{value}");
    }
    assert_eq!(place.tree(), before, "explain leaves no trace");

    // Where nobody proves himself, domains are still trusted.
    let store = place.settings().store.path;
    let config = place.path("domains.toml");
    std::fs::write(&config, format!("store = {store:?}\nauto_after = 0\n")).unwrap();
    let config = format!("config={}", config.display());
    let spf = ["explain", "10.0.0.1", "any@where.example", BOB, "spf=proved.example", &config];
    let explained = eximgrey(&place, &spf).out;
    let expected = "reason=auto by=spf\nbecause     the client's spf domain has passed for somebody here";
    assert!(explained.contains(expected), "{explained}");
    let network = eximgrey(&place, &["explain", "203.0.113.77", "any@where.example", BOB, &config]).out;
    assert!(network.contains("reason=new"), "{network}");
}

/// The records that the answer rests on are shown, and what of them is too old to count.
#[test]
fn the_records_behind_an_answer_are_shown() {
    let place = filled();
    let arguments = ["explain", "192.0.2.1", "alice@sender.example", BOB];
    let text = eximgrey(&place, &arguments).out;
    for expected in [
        "client      192.0.2.1\n",
        "network 192.0.2.0/24",
        "sender      alice@sender.example\n",
        "sender key  alice@sender.example\n",
        "recipient   bob@rcpt.example\n",
        "rules       mode=enforce delay=5m window=2d lifetime=36d auto_after=5\n            sender_key=full ",
        "network 192.0.2.0/24: 1 pass counted, ",
        "network 192.0.2.0/24: known since ",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    let old = eximgrey(&place, &[&arguments[..], &["lifetime=10m"]].concat()).out;
    assert_eq!(old.matches("(too long ago to count)").count(), 2, "{old}");
    let new =
        eximgrey(&place, &["explain", "10.0.0.1", "a@b.example", BOB, "host=10-0-0-1.dsl.example.net"]).out;
    assert!(new.contains("records     none\n"), "{new}");
    assert!(new.contains("(host 10-0-0-1.dsl.example.net: no identity: generated from the address"), "{new}");
    let value = &eximgrey(&place, &[&arguments[..], &["--json"]].concat()).json()[0];
    assert_eq!(value["client"], "192.0.2.1");
    assert_eq!(value["identities"][0]["identity"], "192.0.2.0/24");
    assert_eq!(value["sender_key"], "alice@sender.example");
    assert_eq!(value["records"].as_array().unwrap().len(), 2);
    let rules = value["rules"].as_object().unwrap();
    assert_eq!(
        (&rules["delay"], &rules["auto_after"], &rules["mode"]),
        (&300.into(), &5.into(), &"enforce".into())
    );
    assert_eq!(rules.len(), Rules::KEYS.len());
}

/// Who passes because its sender came from many networks is told so, and from how many others.
#[test]
fn what_a_sender_has_tried_from_other_networks_is_shown() {
    let place = Place::new("");
    let now = Timestamp::now().0;
    let (alice, bob): (&[u8], &[u8]) = (b"alice@sender.example", BOB.as_bytes());
    let tried = |client: &'static [u8]| [client, alice, bob];
    let calls = [tried(b"192.0.2.1"), tried(b"198.51.100.1"), tried(b"198.51.100.9")];
    place.decide(&[(now - 2 * HOUR, &calls[0]), (now - 60, &calls[1]), (now - 50, &calls[2])]);
    let explained = |client: &str| eximgrey(&place, &["explain", client, "alice@sender.example", BOB]).out;
    let third = explained("203.0.113.1");
    for expected in [
        "records     2 other networks: first attempt at ",
        "answer      action=pass reason=retried delay=72",
        " by=sender\nbecause     the first attempt was 2h",
        "at least the delay of 5m and 30m, and the sender has come back from at least 3 networks",
    ] {
        assert!(third.contains(expected), "no {expected:?} in\n{third}");
    }
    let second = explained("198.51.100.1");
    assert!(
        second.contains("1 other network: first attempt at ") && second.contains("reason=early"),
        "{second}"
    );
}

/// A recipient's extension is named, and what holds for the address without it is said.
#[test]
fn an_extension_of_a_recipient_is_explained() {
    let settings = "recipient_delimiter = \"+\"\n[recipients]\n\"bob@rcpt.example\" = \"off\"\n";
    let place = Place::new(settings);
    let explained = |to: &str| eximgrey(&place, &["explain", "192.0.2.1", "a@sender.example", to]).out;
    assert!(explained("bob+news@rcpt.example").contains("reason=off"));
    let listed = eximgrey(&place, &["whitelist", "add", "recipient", "carol@rcpt.example"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    let carol = explained("carol+x@rcpt.example");
    let expected = "recipient   carol+x@rcpt.example\n            (policies, the whitelist and replies of \
                    carol@rcpt.example hold for it, too)\n";
    assert!(carol.contains(expected) && carol.contains("reason=whitelisted"), "{carol}");
    assert!(explained("+carol@rcpt.example").contains("reason=new"));
    let checked = eximgrey(&place, &["check-config"]).out;
    assert!(checked.contains("\nrecipient_delimiter = \"+\"\n"), "{checked}");
}

/// What is said of a record is what the decision makes of it, where their limits differ by a little, too: a
/// known triplet holds for a sixteenth of the lifetime more, and a first attempt from before a trap does not
/// count.
#[test]
fn a_record_is_said_to_count_where_it_does() {
    let place = Place::new("");
    let now = Timestamp::now();
    let ago = |hours: u32| now.0 - hours * HOUR;
    let (alice, bob): (&[u8], &[u8]) = (b"alice@sender.example", BOB.as_bytes());
    let known: [&[u8]; 4] = [b"192.0.2.1", alice, bob, b"spf=sender.example"];
    let waiting: [&[u8]; 3] = [b"198.51.100.1", alice, bob];
    place.decide(&[(ago(37 * 24), &known), (ago(37 * 24) + 400, &known), (ago(3), &waiting)]);
    as_store_user(|| {
        let store = place.open();
        let rules = Rules { trap_time: Seconds::HOUR, ..Rules::default() };
        for (client, recipient, hours) in [("198.51.100.1", BOB, 72), ("192.0.2.1", "carol@rcpt.example", 2)]
        {
            let network = ClientNetwork::of(client.parse().unwrap(), Prefixes::default());
            let identities = vec![Identity::Network(network)];
            let triplet = Triplet::new(identities, alice, recipient.as_bytes(), b"", Level::Full);
            let question = |hours| Question { triplet: &triplet, rules: &rules, now: Timestamp(ago(hours)) };
            store.tell(&Event::Release(&question(hours), Scope::Triplet)).unwrap();
            if hours == 72 {
                store.tell(&Event::Trap(&question(2))).unwrap();
            }
        }
    });
    let explained = |client: &str| eximgrey(&place, &["explain", client, "alice@sender.example", BOB]).out;
    let margin = explained("192.0.2.1");
    assert!(margin.contains("reason=known") && margin.contains("and a sixteenth more"), "{margin}");
    assert!(!margin.contains("to count"), "{margin}");
    let anew = explained("198.51.100.1");
    assert!(anew.contains("reason=new") && anew.contains("(does not count)"), "{anew}");
    assert!(anew.contains("network trapped at") && !anew.contains("released until"), "{anew}");
    // One pass is no proof, but the domain is known to the site.
    let domain = ["explain", "203.0.113.1", "x@sender.example", BOB, "spf=sender.example"];
    let domain = eximgrey(&place, &domain).out;
    assert!(domain.contains("reason=auto by=spf") && !domain.contains("proved itself"), "{domain}");
}

/// The answer of `explain` is the one that Exim gets: it asks the same code about the same store.
#[test]
fn explain_and_the_library_agree() {
    let place = filled();
    let triplets = [
        ["192.0.2.1", "alice@sender.example", BOB],
        ["203.0.113.9", "x@y.example", BOB],
        ["198.51.100.7", "ripe@sender.example", BOB],
        ["192.0.2.1", "nobody@sender.example", BOB],
    ];
    for arguments in triplets {
        let explained = eximgrey(&place, &[&["explain"], &arguments[..]].concat()).out;
        let bytes = arguments.map(str::as_bytes);
        let answered = &place.decide(&[(eximgrey::time::Timestamp::now().0, &bytes)])[0];
        let words: Vec<&str> = answered.split(' ').filter(|word| !word.starts_with("delay=")).collect();
        for word in words {
            assert!(explained.contains(word), "{answered} is not in\n{explained}");
        }
    }
}

/// What Exim would be answered an error for is wrong usage here: what was found and what was expected is
/// said, and which error.
#[test]
fn what_exim_could_not_ask_is_wrong_usage() {
    let place = filled();
    let asked = ["192.0.2.1", "a@b.example", BOB];
    for (options, said) in [
        (&["delay=soon"][..], "delay=soon: expected a time of at most \"12h\""),
        (&["delay=13h"], "delay=13h: expected a time of at most \"12h\""),
        (&["lifetime=0"], "lifetime=0: expected a time of at least \"1s\""),
        (&["mode=on"], "mode=on: expected \"enforce\", \"observe\" or \"off\""),
        (&["delay=1h", "window=30m"], "window (30m) must be longer than delay (1h)"),
        (&["policy=none"], "policy=none: expected a policy of the file"),
        (&["config=x.toml"], "config=x.toml: expected an absolute path"),
        (
            &["colour=grey"],
            "colour=grey: expected one of config, policy, spf, dkim, host, match, sign, mode, delay, ",
        ),
        (&["auto_after=1"], "auto_after=1: expected one of config, "),
        (&["grey"], "grey: expected OPTION=VALUE"),
        (&["delay=1m", "delay=2m"], "delay=2m: expected each option once"),
        (&["x\n\u{1b}[2J=1"], "x\\x0a\\x1b[2J=1: expected one of "),
    ] {
        let text = eximgrey(&place, &[&["explain"], &asked[..], options].concat());
        assert_eq!((text.code, text.out.as_str()), (Some(2), ""), "{options:?}");
        let end = "; Exim would be answered error=bad-option\n";
        let matches = text.err.starts_with(&format!("eximgrey: {said}")) && text.err.ends_with(end);
        assert!(matches, "{options:?}: {}", text.err);
    }
    for (arguments, sign) in [
        (
            &["nowhere", "a@b.example", BOB][..],
            "nowhere: expected an IP address; Exim would be answered error=bad-client",
        ),
        (&asked[..2], "RECIPIENT"),
    ] {
        let text = eximgrey(&place, &[&["explain"], arguments].concat());
        assert_eq!((text.code, text.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(text.err.contains(sign), "{arguments:?}: {}", text.err);
    }
}

/// A name that is no domain is a slip here; to the library it is a stranger's text, and not given.
#[test]
fn a_name_that_is_no_domain_is_wrong_usage() {
    let place = filled();
    for (option, expected) in [
        ("spf=pass", "spf=pass: expected the domain that SPF passed for, such as spf=sender.example\n"),
        ("dkim=pass", "dkim=pass: expected the domain that signed, such as dkim=sender.example\n"),
        ("host=mx", "host=mx: expected the verified name of the client, such as host=mx.sender.example\n"),
        ("host=[192.0.2.1]", "host=[192.0.2.1]: expected the verified name"),
        ("spf=a b\u{1b}", "spf=a\\x20b\\x1b: expected the domain"),
    ] {
        let text = eximgrey(&place, &["explain", "192.0.2.1", "a@b.example", BOB, option]);
        assert_eq!((text.code, text.out.as_str()), (Some(2), ""), "{option}");
        assert!(text.err.starts_with(&format!("eximgrey: {expected}")), "{option}: {}", text.err);
    }
}

/// What is not known is said last: what Exim verifies, where it is neither given nor recorded with the mail.
/// What was recorded with it, from the client's network, counts.
#[test]
fn what_is_not_known_is_said_last() {
    let place = filled();
    let last = |arguments: &[&str]| {
        let text = eximgrey(&place, &[&["explain"], arguments].concat()).out;
        text.lines().last().unwrap_or_default().to_owned()
    };
    let why = "(Exim is not asked where a configuration file is named)";
    let stranger = last(&["192.0.2.1", "new@sender.example", BOB]);
    let give = "give spf=DOMAIN and host=NAME where it does";
    assert_eq!(stranger, format!("not known   what Exim verifies of the client {why}: {give}"));
    let half = last(&["192.0.2.1", "new@sender.example", BOB, "spf="]);
    assert!(half.ends_with("): give host=NAME where it does"), "{half}");
    for known in
        [&["192.0.2.1", "new@sender.example", BOB, "spf=", "host="][..], &["", "new@sender.example", BOB]]
    {
        assert!(last(known).starts_with("because "), "{known:?}");
    }

    // A first attempt and a known triplet, each with what was verified then.
    let waits = ["2001:db8::2", "<>", BOB];
    assert!(last(&waits).ends_with(&format!("now {why}; recorded with this mail: host=example.com")));
    let passed = ["203.0.113.9", "list@proved.example", "user1@rcpt.example"];
    let explained = eximgrey(&place, &[&["explain"], &passed[..]].concat()).out;
    assert!(explained.contains("spf proved.example\n"), "{explained}");
    assert!(explained.ends_with("recorded with this mail: spf=proved.example\n"), "{explained}");
    // Of another network, or given otherwise, it does not count.
    let elsewhere: [&[u8]; 4] =
        [b"192.0.3.1", b"ripe@sender.example", BOB.as_bytes(), b"spf=elsewhere.example"];
    place.decide(&[(Timestamp::now().0, &elsewhere)]);
    assert!(last(&["198.51.100.1", "ripe@sender.example", BOB]).ends_with(give));
    assert!(last(&["2001:db8:9::2", "<>", BOB]).ends_with(give));
    let without = eximgrey(&place, &[&["explain"], &passed[..], &["spf="]].concat()).out;
    assert!(!without.contains("spf proved.example"), "{without}");

    let json = &eximgrey(&place, &[&["explain", "--json"], &waits[..]].concat()).json()[0];
    assert!(json["not_known"].as_str().unwrap().contains("host=example.com"), "{json}");
    assert!(json["exim"]["asks"].is_null() && json["exim"]["answer"].is_null(), "{json}");
}

/// A hostile address cannot forge a line or a column, nor reach the terminal.
#[test]
fn a_hostile_sender_stays_in_its_line() {
    let place: Place = filled();
    let list = eximgrey(&place, &["list", "pending", "sender=evil"]);
    let [line] = list.lines()[..] else { panic!("{}", list.out) };
    assert!(
        line.ends_with(&format!(" network 198.51.100.0/24 {HOSTILE_SHOWN} evil\\x0a@rcpt.example")),
        "{line}"
    );
    assert_eq!(line.split_whitespace().count(), 6);

    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.arg("explain").arg("198.51.100.1").arg(OsStr::from_bytes(HOSTILE)).arg("evil\n@rcpt.example");
    let explained = done(command.arg("--config").arg(place.config()));
    assert_eq!(explained.code, Some(0), "{}", explained.err);
    assert!(explained.out.contains(&format!("\nsender      {HOSTILE_SHOWN}\n")), "{}", explained.out);
    assert!(
        explained.out.contains(&format!("\nsender key  {}\n", HOSTILE_SHOWN.to_ascii_lowercase())),
        "{}",
        explained.out
    );
    assert!(explained.out.contains("\nrecipient   evil\\x0a@rcpt.example\n"), "{}", explained.out);
    assert!(explained.out.contains("reason=early"), "{}", explained.out);
    let harmless = |byte: u8| byte == b'\n' || (b' '..=b'~').contains(&byte);
    for arguments in [&["list"][..], &["list", "--json"], &["status"], &["status", "--json"]] {
        let shown = eximgrey(&place, arguments).out;
        assert!(shown.bytes().all(|byte| harmless(byte) || byte > 127), "{shown:?}");
    }
    assert!(explained.out.bytes().all(harmless), "{:?}", explained.out);
}

/// A store that cannot be used: the answer says so, as Exim's would, and the command that something is wrong.
#[test]
fn a_store_that_cannot_be_used_is_explained() {
    let place = filled();
    let data = place.store().join("known/data.mdb");
    as_store_user(|| std::fs::write(&data, [7; 8192]).unwrap());
    let mail = ["explain", "192.0.2.1", "new@sender.example", BOB];
    for (options, answer) in [
        (&[][..], "answer      action=pass reason=error error=store-damaged\n"),
        (&["--json"], "\"answer\":\"action=pass reason=error error=store-damaged\""),
    ] {
        let shown = eximgrey(&place, &[&mail[..], options].concat());
        assert!(shown.out.contains(answer) && shown.out.contains("known is damaged: "), "{}", shown.out);
        assert_eq!(shown.code, Some(1));
    }
}
