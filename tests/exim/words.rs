//! Each reason, option and policy, as Exim's ACLs and the administrator's command meet them. (Those that other
//! tests show as well are here only where it takes no more than a line.)

use std::process::Command;

use crate::smtp::attempt;
use crate::world::{World, in_own_world, run_with_input};

const CLIENT: &str = "198.51.100.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";
const OTHER: &str = "other@example.org";

/// What a function of the library answers in Exim; `arguments` are given as Exim writes them: `{one}{two}`.
fn call(world: &World, function: &str, arguments: &str) -> String {
    let (library, config) = (world.library(), world.path("eximgrey.toml"));
    let (library, config) = (library.display(), config.display());
    world.expand(&format!("${{dlfunc{{{library}}}{{{function}}}{arguments}{{config={config}}}}}"))
}

fn peek(world: &World, options: &str) -> String {
    call(world, "greylist_peek", &format!("{{{CLIENT}}}{{{SENDER}}}{{{USER}}}{options}"))
}

/// The administrator's command; it finds the store through the configuration file.
pub fn eximgrey(world: &World, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.arg("--config").arg(world.path("eximgrey.toml")).args(arguments);
    run_with_input(&mut command, "");
}

/// A first attempt, an early retry, a retry in time, and a known triplet have their reasons.
#[test]
fn reasons_of_a_triplets_life() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim("");
        assert_eq!(peek(world, ""), "action=defer reason=new wait=3600");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        assert!(peek(world, "").starts_with("action=defer reason=early wait=3"), "{}", peek(world, ""));
        assert!(peek(world, "{delay=0s}").starts_with("action=pass reason=retried delay="));
        assert!(peek(world, "{delay=0s}").ends_with(" by=network"));
        world.configure("delay = \"0s\"");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert_eq!(peek(world, ""), "action=pass reason=known by=network");
    });
}

/// A client that has proved itself passes with mail that was never seen before.
#[test]
fn auto_is_the_reason_of_clients_that_have_proved_themselves() {
    in_own_world(|world| {
        world.configure("delay = \"0s\"\nauto_after = 1");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, "carol@sender.test", OTHER).expect_accepted();
        let reply = call(world, "greylist_peek", &format!("{{{CLIENT}}}{{dave@sender.test}}{{{USER}}}"));
        assert_eq!(reply, "action=pass reason=auto by=network");
    });
}

/// What the administrator has put on the whitelist passes at once, without a reload.
#[test]
fn whitelisted_mail_passes() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, OTHER).expect_greylisted();
        eximgrey(world, &["whitelist", "add", "recipient", USER]);
        assert_eq!(peek(world, ""), "action=pass reason=whitelisted");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        eximgrey(world, &["whitelist", "add", "client", "192.0.2.0/24"]);
        attempt("192.0.2.7", SENDER, OTHER).expect_accepted();
        eximgrey(world, &["whitelist", "remove", "recipient", USER]);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
    });
}

/// Deferred mail that the administrator releases passes with its next retry.
#[test]
fn released_mail_passes() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        eximgrey(world, &["release", SENDER, USER]);
        assert!(peek(world, "").starts_with("action=pass reason=released"), "{}", peek(world, ""));
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, SENDER, OTHER).expect_greylisted();
    });
}

/// A trapped network waits, until it is released.
#[test]
fn trapped_network_waits_until_it_is_released() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        eximgrey(world, &["trap", "198.51.100.1"]);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        assert!(peek(world, "").starts_with("action=defer reason=trapped wait=86"), "{}", peek(world, ""));
        eximgrey(world, &["release", "--client", CLIENT]);
        attempt(CLIENT, SENDER, USER).expect_accepted();
    });
}

/// A store that is no store any more lets mail pass, and says so.
#[test]
fn damaged_store_passes() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        std::fs::write(world.store().join("known/data.mdb"), [b'x'; 8192]).unwrap();
        attempt(CLIENT, SENDER, OTHER).expect_accepted();
        world.wait_for_log("eximgrey: action=pass reason=error error=store-damaged", 1);
    });
}

/// What filters and our own mail tell the library is answered with a word too.
#[test]
fn reports_are_answered() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let triplet = format!("{{{CLIENT}}}{{{SENDER}}}{{{USER}}}");
        let feedback = |finding: &str| call(world, "greylist_feedback", &format!("{triplet}{{{finding}}}"));
        let sent = || call(world, "greylist_sent", &format!("{{{USER}}}{{{SENDER}}}"));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert_eq!(feedback("ham"), "result=recorded");
        assert_eq!(peek(world, ""), "action=pass reason=known by=network");
        world.configure("auto_after = 1");
        assert_eq!(feedback("trap"), "result=spared");
        world.configure("auto_after = 5");
        assert_eq!(feedback("trap"), "result=recorded");
        assert_eq!(feedback("spam"), "result=recorded");
        assert_eq!(feedback("spam"), "result=nothing");
        assert_eq!(feedback("maybe"), "result=error error=bad-option");
        assert_eq!(sent(), "result=recorded");
        // A decision sees to it that it is no longer queued only.
        assert!(peek(world, "").contains("reason=trapped"));
        assert_eq!(sent(), "result=nothing");
        world.configure("delay = = 1");
        assert_eq!(sent(), "result=error error=bad-config");
    });
}

/// Each option does what it says, and a value that makes no sense is answered with an error: mail passes.
#[test]
fn each_option_is_heeded() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"\n[policy.strict]\ndelay = \"2h\"");
        let _exim = world.start_exim("");
        let error = "action=pass reason=error error=bad-option";
        for (options, reply) in [
            ("{delay=10m}", "action=defer reason=new wait=600"),
            ("{window=2h}", "action=defer reason=new wait=3600"),
            // Mail could never pass.
            ("{window=30m}", error),
            ("{lifetime=1d}", "action=defer reason=new wait=3600"),
            ("{lifetime=0s}", error),
            ("{mode=off}", "action=pass reason=off"),
            ("{mode=enforce}", "action=defer reason=new wait=3600"),
            ("{policy=strict}", "action=defer reason=new wait=7200"),
            ("{policy=off}", "action=pass reason=off"),
            ("{policy=unknown}", error),
            ("{delay=soon}", error),
            ("{unknown=1}", error),
        ] {
            assert_eq!(peek(world, options), reply, "{options}");
        }
        let observed = peek(world, "{mode=observe}");
        assert!(
            observed.starts_with("action=pass reason=new") && observed.ends_with("would=defer"),
            "{observed}"
        );
    });
}

/// How much of a sender is normalised is an option: a mailing list's numbered senders are one, or each its own.
#[test]
fn sender_key_option_tells_how_much_is_normalised() {
    in_own_world(|world| {
        let config = world.path("eximgrey.toml");
        for (level, same) in [("full", true), ("exact", false)] {
            let _exim = world.start_exim(&format!(
                "EXIMGREY_OPTIONS == {{config={}}}{{sender_key={level}}}",
                config.display()
            ));
            let sender = |number: u32| format!("{level}-return-{number}-user=example.org@lists.test");
            attempt(CLIENT, &sender(1), USER).expect_greylisted();
            let reply = attempt(CLIENT, &sender(2), USER);
            if same { reply.expect_accepted() } else { reply.expect_greylisted() }
        }
    });
}

/// Recipients and domains have policies of their own in the configuration file, one's own or a built-in one.
#[test]
fn recipients_have_policies() {
    in_own_world(|world| {
        world.configure(
            "delay = \"1h\"\n[policy.codes]\ndelay = \"0s\"\n\
             [recipients]\n\"user@example.org\" = \"codes\"\n\"example.org\" = \"off\"",
        );
        std::fs::write(world.path("users"), "user\nother\n").unwrap();
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, SENDER, OTHER).expect_accepted();
        assert_eq!(world.log_lines("reason=new wait=0").len(), 1);
        world.configure("delay = \"1h\"\n[recipients]\n\"other@example.org\" = \"observe\"");
        attempt("192.0.2.7", SENDER, OTHER).expect_accepted();
        world.wait_for_log("would=defer", 1);
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
    });
}

/// With `recipient_delimiter`, what is said of a user holds for the extensions of its address, as Exim has them.
#[test]
fn extensions_of_a_users_address_have_its_policy() {
    in_own_world(|world| {
        world.configure("recipient_delimiter = \"+\"\n[recipients]\n\"user@example.org\" = \"off\"");
        std::fs::write(world.path("users"), "user\nuser+bank\nuser+\n+user\nother+bank\n").unwrap();
        let _exim = world.start_exim("");
        for local in ["user+bank", "user+", "USER+Bank", "\"user+bank\""] {
            attempt(CLIENT, SENDER, &format!("{local}@example.org")).expect_accepted();
        }
        for local in ["+user", "other+bank"] {
            attempt(CLIENT, SENDER, &format!("{local}@example.org")).expect_greylisted();
        }
    });
}

/// Opting in: nobody is greylisted but those who are named.
#[test]
fn greylisting_may_be_opted_in() {
    in_own_world(|world| {
        world.configure("delay = \"0s\"\nmode = \"off\"\n[recipients]\n\"user@example.org\" = \"enforce\"");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, OTHER).expect_accepted();
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
    });
}

/// Hostile values of options change nothing but themselves: the next option still counts.
#[test]
fn hostile_values_change_nothing_but_themselves() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let long = world.path("long");
        std::fs::write(&long, "x".repeat(64 * 1024)).unwrap();
        let values = [
            "a b".to_owned(),
            "a=b=c".to_owned(),
            "delay=9d".to_owned(),
            "x mode=off".to_owned(),
            r#"" ' \\ "#.to_owned(),
            r"a\nmode=off\r\n".to_owned(),
            r"\x01\x7f\xff".to_owned(),
            format!("${{readfile{{{}}}}}", long.display()),
        ];
        for value in values {
            for option in ["spf", "dkim", "host", "match"] {
                let reply = peek(world, &format!("{{{option}={value}}}{{delay=7s}}"));
                assert_eq!(reply, "action=defer reason=new wait=7", "{option}={value}");
            }
        }
    });
}
