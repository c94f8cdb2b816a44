//! `eximgrey explain` says what this Exim answers this client: it has Exim ask.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::recipes::include;
use crate::smtp::attempt;
use crate::world::{Lacking, World, in_own_world};

const CLIENT: &str = "198.51.100.7";
/// In another network.
const SECOND: &str = "192.0.2.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";

/// What `eximgrey explain` prints; run by `user`, or by root.
fn explain_as(user: Option<(u32, u32)>, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.arg("explain").args(arguments).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

fn explain(arguments: &[&str]) -> String {
    explain_as(None, arguments)
}

#[track_caller]
fn expect(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

/// Two hosts of one provider in two networks, that SPF passes for.
fn provider(world: &World) {
    world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all");
    world.dns.host("mx1.provider.test", CLIENT);
    world.dns.host("mx2.provider.test", SECOND);
}

/// Without spf= and host= the answer is that of the client that Exim sees, and nothing is left open. What is
/// given counts instead of what Exim finds.
#[test]
fn what_exim_verifies_is_asked_of_exim() {
    in_own_world(|world| {
        provider(world);
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        world.wait_for_log("reason=new wait=3600", 1);
        // Exim's own log names the host that it has verified, and a list each identity.
        let log = world.log_lines("reason=new wait=3600");
        assert!(log[0].contains(" H=mx1.provider.test "), "{log:?}");
        let before = recorded(world);
        assert!(before.contains(r#""identity":"provider.test""#), "{before}");
        let explained = explain(&[SECOND, SENDER, USER]);
        expect(
            &explained,
            &[
                "host provider.test\n",
                "reason=early wait=",
                "\nexim        asks so (exim -bh), and answers 451 4.7.1 Greylisted, please try again",
            ],
        );
        assert!(!explained.contains("not known"), "{explained}");
        if !Lacking::Spf.said() {
            expect(&explained, &["spf sender.test\n"]);
        }
        let by_exims_user = explain_as(Some(world.exim_user), &[SECOND, SENDER, USER]);
        expect(&by_exims_user, &["host provider.test\n", "exim        asks so"]);
        let given = explain(&[SECOND, SENDER, USER, "host=", "delay=1m"]);
        assert!(!given.contains("provider.test"), "{given}");
        expect(&given, &["delay=1m", "exim        asks so"]);
        let all = explain(&[SECOND, SENDER, USER, "host=", "spf=", &config(world)]);
        expect(&all, &["reason=new"]);
        assert!(!all.contains("\nexim ") && !all.contains("not known"), "{all}");
        let json: serde_json::Value =
            serde_json::from_str(&explain(&["--json", SECOND, SENDER, USER])).unwrap();
        assert_eq!((&json["exim"]["asks"], &json["not_known"]), (&true.into(), &serde_json::Value::Null));
        assert!(json["exim"]["answer"].as_str().unwrap().starts_with("451 4.7.1 "), "{json}");
        assert_eq!(recorded(world), before, "explain has recorded something");
        assert_eq!(world.log_lines("reason=").len(), 1, "it is in the log");
    });
}

/// Everything that the store has.
fn recorded(world: &World) -> String {
    let list = |what: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        command.args(["list", "--all", "--json", what, "--config"]).arg(world.path("eximgrey.toml"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    // What is left of a wait goes by.
    ["pending", "known", "auto"].map(list).concat().replace(|c: char| c.is_ascii_digit(), "")
}

fn config(world: &World) -> String {
    format!("config={}", world.path("eximgrey.toml").display())
}

/// The options of Exim's call count: its policy, its delay.
#[test]
fn the_options_of_the_call_count() {
    in_own_world(|world| {
        world.configure("[policy.slow]\ndelay = \"7h\"");
        let policy = format!("{{{}}}{{policy=slow}}", config(world));
        let _exim = world.start_exim_with(
            &world.small_configuration("").replace(&format!("{{{}}}", config(world)), &policy),
        );
        expect(&explain(&[CLIENT, SENDER, USER]), &["delay=7h", "reason=new wait=25200", "asks so"]);
    });
}

/// Of mail that Exim does not ask about, what it answers is said.
#[test]
fn mail_that_exim_does_not_ask_about_is_told() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        for (client, recipient, answer) in [
            (CLIENT, "user@elsewhere.test", "550 relay not permitted"),
            (CLIENT, "nobody@example.org", "550 "),
            ("192.0.2.99", USER, "250 OK id="),
        ] {
            // Where Exim does not ask, it names no store; this answer needs none.
            let explained = explain(&[client, SENDER, recipient, "mode=off"]);
            expect(
                &explained,
                &[&format!("\nexim        asks nothing about this mail (exim -bh), and answers {answer}")],
            );
        }
        // The null sender passes RCPT; it is asked about after DATA.
        let explained = explain(&[CLIENT, "<>", USER]);
        expect(&explained, &["reason=new", "asks so (exim -bh), and answers 451 4.7.1 Greylisted"]);
    });
}

/// What a stranger's names and records are read with has the rights of Exim's user there, though root asks.
#[test]
fn the_session_has_the_rights_of_exims_user() {
    in_own_world(|world| {
        let _exim = world.start_exim("EXIMGREY_MESSAGE = as ${run{/usr/bin/id -u}{$value}}");
        let user = world.exim_user.0;
        expect(&explain(&[CLIENT, SENDER, USER]), &[&format!("and answers 451 4.7.1 as {user}\n")]);
    });
}

/// In an Exim that the library does not know, it would record a session that is not for real: so there is none.
#[test]
fn an_unknown_exim_is_not_asked() {
    in_own_world(|world| {
        let (source, symbols) = (world.path("symbols.c"), world.path("symbols.so"));
        std::fs::write(&source, "unsigned debug_selector; void is_debug(void) { __builtin_trap(); }\n")
            .unwrap();
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&symbols, &source]).status();
        assert!(compiled.expect("run cc").success());
        let _exim = world.start_exim("");
        let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        command.args(["explain", CLIENT, SENDER, USER, "mode=off"]).env("LD_PRELOAD", &symbols);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        expect(&text, &["not known   what Exim verifies of the client (the library does not know this Exim"]);
        assert_eq!(recorded(world), "", "explain has recorded something");
    });
}

/// With recipes that ask after DATA, what depends on the message is named.
#[test]
fn what_depends_on_the_message_is_not_known() {
    in_own_world(|world| {
        provider(world);
        let _exim = world.start_exim(&include("fingerprint"));
        let explained = explain(&[CLIENT, SENDER, USER]);
        expect(
            &explained,
            &[
                "host provider.test",
                "asks so (exim -bh), and answers 451 4.7.1",
                "\nnot known   what depends on the message: match\n",
            ],
        );
    });
}

/// Who may not ask Exim gets what was recorded with the mail, and is told so.
#[test]
fn without_exim_the_records_are_asked() {
    in_own_world(|world| {
        provider(world);
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(SECOND, SENDER, "other@example.org").expect_accepted();
        world.wait_for_log("reason=retried", 1);
        let explained = explain_as(Some(world.exim_user), &[CLIENT, SENDER, USER, &config(world)]);
        expect(&explained, &["host provider.test\n", "reason=known", "host=provider.test"]);
        expect(
            &explained,
            &[
                "\nnot known   what Exim verifies of the client now (Exim is not asked where a configuration file is named",
            ],
        );
        let unseen = explain_as(Some(world.exim_user), &["198.51.101.7", SENDER, USER, &config(world)]);
        assert!(!unseen.contains("host provider.test"), "{unseen}");
        expect(&unseen, &["give spf=DOMAIN and host=NAME where it does\n"]);
    });
}
