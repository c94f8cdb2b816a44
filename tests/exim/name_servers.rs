//! What is asked of name servers for a mail, and what becomes of mail when none answers.

use std::fs;

use crate::smtp::{Client, attempt};
use crate::world::{Lacking, SHIPPED, World, in_own_world};

const CLIENT: &str = "198.51.100.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";
const OTHER: &str = "other@example.org";

/// The questions since the last time, without those for the client's name: these Exim asks when a client connects.
fn asked(world: &World) -> Vec<String> {
    let mut questions = world.dns.take_queries();
    questions.retain(|question| !question.contains(".in-addr.arpa/"));
    questions
}

/// The fragments ask about a sender who has to wait, or has just waited: once a message, and of a domain once a connection.
/// About known senders they ask nothing.
#[test]
fn name_servers_are_asked_about_senders_who_wait_alone() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let mut client = Client::connect(CLIENT);
        for (message, expected) in [(1, vec!["sender.test/16"]), (2, vec![])] {
            client.mail(SENDER);
            client.rcpt(USER);
            client.rcpt(OTHER);
            client.command("RSET").expect(250);
            assert_eq!(asked(world), expected, "message {message}");
        }
        client.quit();
        for _ in 0..2 {
            attempt(CLIENT, SENDER, USER).expect_accepted();
            assert_eq!(asked(world), Vec::<String>::new());
        }
    });
}

/// A name server that never answers keeps no mail away, and with the two options of the README each question is asked once.
/// For those who are known there is only Exim's own one, for the client's name.
#[test]
fn silent_name_server_costs_one_timeout_a_question() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        // The resolver's own defaults: two attempts, each of five seconds.
        fs::write(world.path("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        let readme = fs::read_to_string(format!("{SHIPPED}/README.md")).unwrap();
        let options = "    dns_retrans = 2s\n    dns_retry = 1\n";
        assert!(readme.contains(options));
        let _exim = world.start_exim(options);
        world.dns.fall_silent();
        world.dns.take_queries();
        let (name, domain) = ("7.100.51.198.in-addr.arpa/12", "sender.test/16");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        assert_eq!(world.dns.take_queries(), [name, domain]);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert_eq!(world.dns.take_queries(), [name, domain]);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert_eq!(world.dns.take_queries(), [name]);
    });
}
