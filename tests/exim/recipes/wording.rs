//! What the sender, the log and the reader of a mail are told: the message, seconds-left, url, tarpit, x-greylist.

use super::{CLIENT, SENDER, USER, include};
use crate::smtp::attempt;
use crate::words::eximgrey;
use crate::world::{World, in_own_world};

const SESSION: &str = "EHLO client.test\nMAIL FROM:<alice@sender.test>\nRCPT TO:<user@example.org>\nQUIT\n";

/// What a new sender is told under a delay, without what all are told.
fn told(world: &World, sender: &str, delay: &str) -> String {
    world.configure(&format!("delay = \"{delay}\""));
    // Exim breaks a long answer between two words.
    let text = attempt(CLIENT, sender, USER).expect(451).text.replace("\n4.7.1 ", " ");
    text.strip_prefix("4.7.1 Greylisted, please try again in ").expect("the message").to_owned()
}

/// The answer says how long it takes in words that fit the wait, in a trap too, at RCPT and after DATA. With one recipe
/// it tells the seconds, with another one where that is explained, and with both both.
#[test]
fn message_fits_the_wait() {
    for at_data in [String::new(), include("at-data")] {
        in_own_world(move |world| {
            {
                let _exim = world.start_exim(&at_data);
                for (delay, words) in [
                    ("0s", "a few minutes"),
                    ("5m", "a few minutes"),
                    ("10m", "a few minutes"),
                    ("601s", "11 minutes"),
                    ("1h", "60 minutes"),
                    ("2h", "120 minutes"),
                    ("7201s", "about 3 hours"),
                    ("12h", "about 12 hours"),
                ] {
                    assert_eq!(told(world, &format!("alice@after-{delay}.test"), delay), words, "{delay}");
                }
            }
            let url = "EXIMGREY_URL = https://example.org/why\n";
            let recipes = [
                (include("url"), "about 12 hours; see https://mx.example.org/greylisting"),
                (url.to_owned() + &include("url"), "about 12 hours; see https://example.org/why"),
                (include("seconds-left"), "43200 seconds"),
                (
                    include("url") + &include("seconds-left"),
                    "43200 seconds; see https://mx.example.org/greylisting",
                ),
            ];
            for (number, (main, text)) in recipes.into_iter().enumerate() {
                let _exim = world.start_exim(&(main + &at_data));
                assert_eq!(told(world, &format!("alice@sender{number}.test"), "12h"), text);
            }
            let _exim = world.start_exim(&at_data);
            eximgrey(world, &["trap", CLIENT]);
            assert_eq!(told(world, SENDER, "0s"), "about 24 hours");
        });
    }
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
