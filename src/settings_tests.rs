//! The configuration file: what is read, and what each mistake is answered with.

use super::*;
use crate::recipient::Delimiters;
use crate::sender::Level;
use std::path::Path;

fn parse(text: &str) -> Result<Settings, Vec<String>> {
    Settings::parse(Path::new("t.toml"), text)
        .map_err(|problems| problems.iter().map(Problem::to_string).collect())
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(parse(""), Ok(Settings::default()));
    assert_eq!(parse("# nothing\n"), Ok(Settings::default()));
}

#[test]
fn every_setting_is_read() {
    let text = r#"
        delay = "10m"
        window = "3d"
        lifetime = "60d"
        auto_after = 0
        sender_key = "exact"
        trust_known_domains = false
        replied_domain = true
        trap_time = "2h"
        recipient_delimiter = "-+"
        store = "/srv/grey"
        ipv4_prefix = 32
        ipv6_prefix = 56
        lock_timeout = "2s"
        max_pending = 1_000
        max_known = 2_000
        privacy = true
        [policy.codes]
        delay = "1m"
        [policy.none]
        mode = "off"
    "#;
    let settings = parse(text).unwrap();
    let rules = Rules {
        delay: Seconds(600),
        window: Seconds(259_200),
        lifetime: Seconds(5_184_000),
        auto_after: 0,
        sender_key: Level::Exact,
        trust_known_domains: false,
        replied_domain: true,
        trap_time: Seconds(7_200),
        recipient_delimiter: Delimiters::parse(b"+-").unwrap(),
        ..Rules::DEFAULT
    };
    assert_eq!(settings.rules, rules);
    assert_eq!(settings.prefixes, Prefixes { ipv4: 32, ipv6: 56 });
    let store = StoreSettings {
        path: "/srv/grey".into(),
        lock_timeout: Seconds(2),
        max_pending: 1_000,
        max_known: 2_000,
        privacy: true,
    };
    assert_eq!(settings.store, store);
    assert_eq!(
        settings.rules_for(Some(b"codes"), b"", &RuleChanges::default()),
        Ok(Rules { delay: Seconds(60), ..rules })
    );
    assert_eq!(
        settings.rules_for(Some(b"none"), b"", &RuleChanges::default()).map(|r| r.mode),
        Ok(Mode::Off)
    );
    let fault = settings.rules_for(Some(b"nobody\n"), b"", &RuleChanges::default()).unwrap_err();
    assert_eq!(fault.text, "policy=nobody\\x0a: expected a policy of the file");
    let options = RuleChanges { delay: Some(Seconds(5)), ..RuleChanges::default() };
    assert_eq!(settings.rules_for(Some(b"codes"), b"", &options).map(|r| r.delay), Ok(Seconds(5)));
}

#[test]
fn a_recipient_or_its_domain_has_a_policy_and_a_call_may_name_another() {
    let text = r#"
        mode = "off"
        [policy.codes]
        mode = "enforce"
        delay = "1m"
        [recipients]
        "Codes@Example.org" = "codes"
        "example.org" = "enforce"
        "joe@example.org" = "observe"
    "#;
    let settings = parse(text).unwrap();
    let rules = |policy: Option<&[u8]>, recipient: &str| {
        let rules = settings.rules_for(policy, recipient.as_bytes(), &RuleChanges::default()).unwrap();
        (rules.mode, rules.delay)
    };
    assert_eq!(rules(None, "codes@example.ORG"), (Mode::Enforce, Seconds(60)));
    assert_eq!(rules(None, "jane@example.org"), (Mode::Enforce, Seconds(300)));
    assert_eq!(rules(None, "joe@example.org"), (Mode::Observe, Seconds(300)));
    assert_eq!(rules(None, "jane@other.example"), (Mode::Off, Seconds(300)));
    assert_eq!(rules(Some(b"off"), "codes@example.org"), (Mode::Off, Seconds(300)));
    let problems = parse("[recipients]\n\"a@x.example\" = \"cods\"\n").unwrap_err();
    assert!(problems[0].starts_with("t.toml:2: a@x.example: expected the name of a policy"), "{problems:?}");
}

/// The most exact of an address, the address without its extension, and the domain.
#[test]
fn an_address_with_an_extension_has_the_policy_of_the_address_without() {
    let text = |delimiter: &str| {
        format!(
            "recipient_delimiter = \"{delimiter}\"\n[policy.a]\ndelay = \"1m\"\n[policy.b]\ndelay = \"2m\"\n\
             [policy.c]\ndelay = \"3m\"\n[recipients]\n\"codes@example.org\" = \"a\"\n\
             \"codes+bank@example.org\" = \"b\"\n\"example.org\" = \"c\"\n\"+@other.example\" = \"b\"\n"
        )
    };
    let delays = |delimiter, recipients: &[&str]| -> Vec<_> {
        let settings = parse(&text(delimiter)).unwrap();
        let rules = |to: &&str| settings.rules_for(None, to.as_bytes(), &RuleChanges::default());
        recipients.iter().map(|to| rules(to).unwrap().delay.0 / 60).collect()
    };
    let recipients = [
        "codes@example.org",
        "Codes+Bank@Example.org",
        "codes+shop@example.org",
        "codes+bank+7@example.org",
        "codes+@example.org",
        "+codes@example.org",
        "+@other.example",
        "++@other.example",
    ];
    assert_eq!(delays("+", &recipients), [1, 2, 1, 1, 1, 3, 2, 5]);
    assert_eq!(delays("", &recipients), [1, 2, 3, 3, 3, 3, 2, 5]);
    for (text, expected) in [
        ("recipient_delimiter = \"a\"", "t.toml:1: recipient_delimiter: expected signs that are no letters"),
        ("recipient_delimiter = 1", "t.toml:1: recipient_delimiter: expected signs"),
        (
            "[policy.a]\nrecipient_delimiter = \"+\"",
            "t.toml:2: policy a: recipient_delimiter stands at the top",
        ),
    ] {
        let problems = parse(text).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
    }
}

#[test]
fn every_problem_is_named_with_its_line() {
    let text = "delay = \"5 minutes\"\nwindw = \"2d\"\nprivacy = 1\nstore = \"grey\"\nipv4_prefix = 33\nmax_pending = 0\n[policy.a]\nstore = \"/x\"\nmode = \"on\"\n";
    let problems = parse(text).unwrap_err();
    let expected = [
        "t.toml:1: delay: expected a time of at most \"12h\", found \"5 minutes\"",
        "t.toml:2: windw: no such setting; expected one of mode, delay,",
        "t.toml:3: privacy: expected true or false, found 1",
        "t.toml:4: store: expected an absolute path, found \"grey\"",
        "t.toml:5: ipv4_prefix: expected a number from 1 to 32, found 33",
        "t.toml:6: max_pending: expected a number of at least 1, found 0",
        "t.toml:8: store: no rule; expected one of mode, delay,",
        "t.toml:9: mode: expected \"enforce\", \"observe\" or \"off\", found \"on\"",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.starts_with(expected), "{problem}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    let problems = parse("delay = \"5m\"\nwindow = \n").unwrap_err();
    assert!(problems[0].starts_with("t.toml:2: "), "{problems:?}");
    assert!(parse("delay = \"5m\"\ndelay = \"6m\"\n").is_err());
}

/// Each is named in the line of what is to be changed: that of the top, or of the policy that makes it so.
#[test]
fn rules_by_which_mail_could_never_pass_are_refused() {
    let text = "delay = \"1h\"\nmode = \"enforce\"\nwindow = \"30m\"\n[policy.a]\nmode = \"off\"\n[policy.b]\ndelay = \"2h\"\n[policy.c]\nwindow = \"1h\"\ndelay = \"2h\"\n[policy.d]\nwindow = \"2h\"\n";
    let expected = [
        "t.toml:3: window (30m) must be longer than delay (1h)",
        "t.toml:7: policy b: window (30m) must be longer than delay (2h)",
        "t.toml:9: policy c: window (1h) must be longer than delay (2h)",
    ];
    assert_eq!(parse(text).unwrap_err(), expected);
    let options = RuleChanges { delay: Some(Seconds::DAY.times(3)), ..RuleChanges::default() };
    let fault = Settings::default().rules_for(None, b"", &options).unwrap_err();
    assert_eq!(fault.text, "window (2d) must be longer than delay (3d)");
}

/// Every value out of its bounds is named in its own line, and no other rule is blamed for it.
#[test]
fn every_bound_is_named_in_its_line() {
    let text = "lock_timeout = \"2m\"\ndelay = \"13h\"\nmode = \"observe\"\nlifetime = \"0s\"\nwindow = \"2m\"\nmax_pending = 0\nipv6_prefix = 129\n[policy.slow]\ndelay = \"2d\"\nwindow = \"4m\"\ntrap_time = \"30d\"\n";
    let expected = [
        "t.toml:1: lock_timeout: expected a time of at most \"1m\", found \"2m\"",
        "t.toml:2: delay: expected a time of at most \"12h\", found \"13h\"",
        "t.toml:4: lifetime: expected a time of at least \"1s\", found \"0s\"",
        "t.toml:6: max_pending: expected a number of at least 1, found 0",
        "t.toml:7: ipv6_prefix: expected a number from 1 to 128, found 129",
        "t.toml:9: delay: expected a time of at most \"12h\", found \"2d\"",
        "t.toml:11: trap_time: expected a time of at most \"3d\", found \"30d\"",
    ];
    assert_eq!(parse(text).unwrap_err(), expected);
}

#[test]
fn a_problem_is_one_line() {
    let problems = parse("store = \"\"\"grey\nmilter\"\"\"\nwindow = [\n1]\n").unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems.iter().all(|problem| !problem.contains('\n')), "{problems:?}");
}

/// Numbers are written as TOML has them, texts and times in quotes; nothing else is taken for them.
#[test]
fn a_value_of_another_type_is_refused() {
    assert_eq!(parse("auto_after = 0x10\n").unwrap().rules.auto_after, 16);
    for bad in [
        "auto_after = \"5\"",
        "privacy = \"true\"",
        "delay = 5",
        "mode = off",
        "auto_after = -1",
        "window = [\"2d\"]",
        "lifetime = 1.5",
        "store.path = \"/x\"",
    ] {
        let problems = parse(bad).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with("t.toml:1: "), "{bad}: {problems:?}");
    }
}

#[test]
fn a_named_file_must_exist_and_the_default_one_need_not() {
    let problems = Settings::load(Some(Path::new("/nonexistent/eximgrey.toml"))).unwrap_err();
    assert!(problems[0].to_string().contains("cannot be read"), "{problems:?}");
}

/// A recipient or a domain becomes what is looked up; what could never be found is named.
#[test]
fn recipients_are_read_as_they_are_pasted() {
    for (key, recipient) in [
        ("Bob@D.example", "bob@d.example"),
        ("<bob@d.example>", "bob@d.example"),
        ("mailto:bob@d.example", "bob@d.example"),
        ("bob@d.example.", "bob@d.example"),
        ("\\\"a b\\\"@d.example", "\"a b\"@d.example"),
        ("d.example.", "sales@d.example"),
        ("*@d.example", "sales@d.example"),
        ("@d.example", "sales@d.example"),
        ("localhost", "root@localhost"),
    ] {
        let settings = parse(&format!("[recipients]\n\"{key}\" = \"off\"\n")).unwrap();
        let rules = settings.rules_for(None, recipient.as_bytes(), &RuleChanges::default()).unwrap();
        assert_eq!(rules.mode, Mode::Off, "{key}");
    }
    for (key, expected) in [
        ("bob@", "can only be on the whitelist"),
        ("a@x.example,b@x.example", "one address or domain"),
        ("a@x.example b@x.example", "one address or domain"),
        ("*.d.example", "no pattern"),
        (".d.example", "no pattern"),
        ("news*@d.example", "no pattern"),
        ("*@", "one address or domain"),
        ("", "one address or domain"),
    ] {
        let problems = parse(&format!("mode = \"off\"\n[recipients]\n\"{key}\" = \"off\"\n")).unwrap_err();
        assert!(
            problems[0].starts_with("t.toml:3: recipients") && problems[0].contains(expected),
            "{problems:?}"
        );
    }
    let twice =
        |policy| parse(&format!("[recipients]\n\"d.example\" = \"off\"\n\"@d.example\" = \"{policy}\"\n"));
    assert!(twice("off").is_ok());
    assert!(twice("observe").unwrap_err()[0].contains("is there twice"));
}
