//! What the sender, the log and the reader of a mail are told: seconds-left, tarpit, x-greylist.

use super::{CLIENT, SENDER, USER, include};
use crate::smtp::attempt;
use crate::world::{World, in_own_world};

const SESSION: &str = "EHLO client.test\nMAIL FROM:<alice@sender.test>\nRCPT TO:<user@example.org>\nQUIT\n";

/// With the recipe the answer tells the seconds that are left, without it none.
#[test]
fn seconds_are_told_only_with_the_recipe() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        {
            let _exim = world.start_exim("");
            let reply = attempt(CLIENT, SENDER, USER).expect(451);
            assert_eq!(reply.text, "4.7.1 Greylisted, please try again in a few minutes");
        }
        for main in [include("seconds-left"), include("seconds-left") + &include("at-data")] {
            let _exim = world.start_exim(&main);
            let reply = attempt(CLIENT, SENDER, USER).expect(451);
            let seconds = reply.text.strip_prefix("4.7.1 Greylisted, please try again in ");
            let seconds = seconds.and_then(|text| text.strip_suffix(" seconds")).unwrap_or_default();
            let seconds: u32 = seconds.parse().unwrap_or_else(|_| panic!("{reply:?}"));
            assert!((3500..=3600).contains(&seconds), "{seconds}");
        }
    });
}

/// How long Exim would keep the client waiting for its answer: under -bh it only says so.
fn delays(world: &World, session: &str) -> Vec<String> {
    let printed = world.host_check(CLIENT, session);
    let requested = printed.lines().filter_map(|line| line.split_once("delay modifier requests "));
    requested.map(|(_, delay)| delay.to_owned()).collect()
}

/// An early retry waits for its answer; a first attempt does not.
#[test]
fn early_retry_is_tarpitted() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim(&include("tarpit"));
        assert_eq!(delays(world, SESSION), ["0-second delay"]);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        assert_eq!(delays(world, SESSION), ["20-second delay"]);
        // Once its time has come, it is not kept waiting.
        world.configure("delay = \"0s\"");
        assert!(delays(world, SESSION).is_empty());
    });
}

/// An early retry is kept waiting after DATA too.
#[test]
fn early_retry_is_tarpitted_after_data() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim(&(include("tarpit") + &include("at-data")));
        let session = SESSION.replace("QUIT", "DATA\nSubject: x\n\nx\n.\nQUIT");
        assert_eq!(delays(world, &session), ["0-second delay"]);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        assert_eq!(delays(world, &session), ["20-second delay"]);
    });
}

/// The time is a macro.
#[test]
fn tarpit_time_is_the_administrators() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim(&("EXIMGREY_TARPIT = 7s\n".to_owned() + &include("tarpit")));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        assert_eq!(delays(world, SESSION), ["7-second delay"]);
    });
}

/// The header lines of all messages that wait in Exim's queue.
fn queued_headers(world: &World) -> String {
    let _ = world;
    let mut text = String::new();
    for entry in std::fs::read_dir("/var/spool/exim4/input").unwrap() {
        let path = entry.unwrap().path();
        if path.to_str().unwrap().ends_with("-H") {
            text += &std::fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Mail that has waited says so in a header, once; mail that has not does not.
#[test]
fn header_is_on_mail_that_has_waited() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("x-greylist"));
        attempt("192.0.2.99", SENDER, USER).expect_accepted();
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        world.wait_for_log("<= alice@sender.test", 1);
        assert_eq!(queued_headers(world).matches("X-Greylist").count(), 0);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("<= alice@sender.test", 3);
        let headers = queued_headers(world);
        let lines: Vec<&str> = headers.lines().filter(|line| line.contains("X-Greylist")).collect();
        assert_eq!(lines.len(), 1, "{headers}");
        let (before, after) = lines[0].split_once("X-Greylist: delayed ").expect("the header");
        assert!(!before.contains("X-"), "{headers}");
        let (seconds, rest) = after.split_once(" seconds by eximgrey").expect("the seconds");
        assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds < 60), "{headers}");
        assert!(rest.trim_start().starts_with("at mx.example.org; "), "{headers}");
    });
}

/// Mail that has waited after DATA has the header as well.
#[test]
fn header_is_on_mail_that_has_waited_after_data() {
    in_own_world(|world| {
        let main = include("x-greylist") + &include("at-data");
        let _exim = world.start_exim(&main);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("<= alice@sender.test", 1);
        assert_eq!(queued_headers(world).matches("X-Greylist: delayed ").count(), 1);
    });
}
