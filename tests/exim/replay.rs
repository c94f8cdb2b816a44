//! `eximgrey replay` on logs that Exim has written: its counts are those of the live decisions, and what it
//! learns is what the live store knows.

use serde_json::Value;
use std::fs;
use std::process::Command;

use crate::smtp::{Client, attempt};
use crate::world::{World, in_own_world, run_with_input};

const LOG: &str = "/var/log/exim4/mainlog";
const USER: &str = "user@example.org";
const OTHER: &str = "other@example.org";

/// What one of the world's configurations has the command print.
fn eximgrey(world: &World, config: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    run_with_input(command.args(arguments).arg("--config").arg(world.path(config)), "")
}

fn value(world: &World, config: &str, arguments: &[&str]) -> Value {
    serde_json::from_str(&eximgrey(world, config, arguments)).unwrap()
}

/// Known triplets, and what identities have earned.
fn known(world: &World, config: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (arguments, keys) in [
        (&["list", "known", "--json"][..], &["by", "identity", "sender", "recipient"][..]),
        (&["list", "auto", "--all", "--json"], &["by", "identity", "passes"]),
    ] {
        for line in eximgrey(world, config, arguments).lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            lines.push(keys.iter().map(|key| line[key].to_string()).collect::<Vec<_>>().join(" "));
        }
    }
    lines.sort();
    lines
}

/// A configuration like the world's, with an empty store.
fn configure_learner(world: &World, settings: &str) {
    world.create_directory_of_exim(&world.path("learner"));
    let text = format!("store = \"{}\"\n{settings}\n", world.path("learner").display());
    fs::write(world.path("learner.toml"), text).unwrap();
}

/// Some mail of each kind: new, early, back in time, from another host of its pool, to several recipients,
/// known, of a client that has proved itself, a bounce.
fn send() {
    attempt("198.51.100.7", "alice@sender.test", USER).expect_greylisted();
    attempt("198.51.100.7", "alice@sender.test", USER).expect_accepted();
    attempt("198.51.100.7", "alice@sender.test", USER).expect_accepted();
    attempt("198.51.100.7", "carol@sender.test", USER).expect_accepted();
    for _ in 0..2 {
        attempt("192.0.2.1", "slow@sender.test", OTHER).expect_greylisted();
    }
    attempt("192.0.2.7", "never@spam.test", USER).expect_greylisted();
    attempt("203.0.113.7", "list@pool.test", USER).expect_greylisted();
    attempt("2001:db8:1::1", "list@pool.test", USER).expect_accepted();
    attempt("2001:db8:2::1", "", USER).expect_greylisted();
    attempt("2001:db8:2::1", "", USER).expect_accepted();
    attempt("198.51.100.9", "nobody@sender.test", "nobody@example.org").expect(550);
}

const SETTINGS: &str = "delay = \"0s\"\nauto_after = 1\n[policy.slow]\ndelay = \"1h\"\n[recipients]\n\"other@example.org\" = \"slow\"";

/// The same counts as the live decisions, by Exim's default log and by one with all that is often added.
#[test]
fn a_replay_counts_what_was_decided_and_learns_what_is_known() {
    let all = "+received_recipients +incoming_port +incoming_interface +pid +subject +tls_cipher +millisec";
    for options in ["DELIVER = yes", &format!("log_selector = {all}\nlog_timezone = true")] {
        let options = options.to_owned();
        in_own_world(move |world| {
            world.configure(SETTINGS);
            configure_learner(world, SETTINGS);
            world.dns.host("mx1.pool.test", "203.0.113.7");
            world.dns.host("mx2.pool.test", "2001:db8:1::1");
            let _exim = world.start_exim(&options);
            send();
            let completed = if options.starts_with("DELIVER") { 5 } else { 0 };
            world.wait_for_log("Completed", completed);
            world.wait_for_log("<= ", 5);

            let live = value(world, "eximgrey.toml", &["report", "--since", "24h", "--json"]);
            let replayed = value(world, "learner.toml", &["replay", LOG, "--learn", "--json"]);
            let told = &replayed["configurations"][0];
            for reason in ["new", "early", "retried", "known", "auto", "error"] {
                let (live, told) = (&live["decisions"]["reasons"][reason], &told["reasons"][reason]);
                assert_eq!(live, told, "{reason}:\n{replayed:#}\n{}", world.main_log());
            }
            assert_eq!(told["attempts"], live["decisions"]["total"]);
            assert_eq!(told["assumed_to_come_back"], 0, "{replayed:#}");
            // Exim and what it logs besides mail.
            assert_eq!(replayed["unknown_lines"], 0, "{}", world.main_log());
            assert_eq!(replayed["left_out"]["refused"], 1, "{replayed:#}");
            assert_eq!(replayed["left_out"]["unclear"], 0, "{replayed:#}");
            let (live, learnt) = (known(world, "eximgrey.toml"), known(world, "learner.toml"));
            assert!(live.len() == 8 && live == learnt, "{live:#?}\n{learnt:#?}\n{}", world.main_log());
        });
    }
}

/// A client that says the address of another one at HELO makes nothing known for that.
#[test]
fn nobody_teaches_an_address_that_is_not_his() {
    in_own_world(|world| {
        configure_learner(world, "delay = \"0s\"");
        let _exim = world.start_exim("helo_accept_junk_hosts = *\nlog_selector = +received_recipients");
        for helo in ["x) [203.0.113.66] (y", "x) [203.0.113.66] P=esmtp S=9 T=\"", "x) [203.0.113.66]:7 F=<"]
        {
            for _ in 0..2 {
                let mut client = Client::connect_as("198.51.100.7", helo);
                client.mail("spam@spam.test");
                if client.rcpt(USER).code == 250 {
                    client.data().expect(250);
                }
                client.quit();
            }
        }
        attempt("192.0.2.1", "alice@sender.test", USER).expect_greylisted();
        attempt("192.0.2.1", "alice@sender.test", USER).expect_accepted();
        world.wait_for_log("<= alice@sender.test", 1);
        let replayed = value(world, "learner.toml", &["replay", LOG, "--learn", "--json"]);
        let learnt = known(world, "learner.toml").join("\n");
        assert!(
            learnt.contains("192.0.2.0/24") && !learnt.contains("203.0.113"),
            "{learnt}\n{}",
            world.main_log()
        );
        assert!(replayed["left_out"]["unclear"].as_u64().unwrap() > 3, "{replayed:#}\n{}", world.main_log());
    });
}
