//! recipes/fingerprint.conf: a wait is over only for the message that has waited.

use super::peer::Peer;
use super::{CLIENT, SENDER, USER, include};
use crate::smtp::{Client, Reply};
use crate::world::in_own_world;

fn send(text: &str) -> Reply {
    let mut client = Client::connect(CLIENT);
    client.mail(SENDER);
    client.rcpt(USER).expect_accepted();
    let reply = client.message(text);
    client.quit();
    reply
}

fn message(subject: &str, body: &str) -> String {
    format!(
        "Message-ID: <1@sender.test>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\
         From: alice@sender.test\r\nSubject: {subject}\r\n\r\n{body}"
    )
}

/// A message that comes again from a real queue is recognised.
#[test]
fn message_from_a_queue_passes_when_it_comes_again() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("fingerprint"));
        let peer = Peer::new(world, "", "");
        peer.send(SENDER, USER, "From: alice@sender.test\nSubject: test\n\ntext\n");
        world.wait_for_log("reason=new", 1);
        peer.retry();
        world.wait_for_log("reason=retried", 1);
        world.wait_for_log("<= alice@sender.test", 1);
    });
}

/// Another message of the same sender to the same recipient waits for itself, be the difference in a
/// header or in the text.
#[test]
fn another_message_waits_for_itself() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("fingerprint"));
        let first = message("one", "text");
        send(&first).expect_greylisted();
        send(&message("two", "text")).expect_greylisted();
        send(&message("one", "other text")).expect_greylisted();
        send(&first.replace("<1@", "<2@")).expect_greylisted();
        send(&first.replace("12:00", "12:01")).expect_greylisted();
        send(&first.replace("From: alice", "From: bob")).expect_greylisted();
        assert_eq!(world.log_lines("reason=new").len(), 6);
        // What a retry changes on its way does not count.
        send(&format!("Received: from x by y; today\r\n{first}")).expect_accepted();
        world.wait_for_log("reason=retried", 1);
        // And now the sender is known.
        send(&message("two", "text")).expect_accepted();
    });
}

/// Without the recipe any message passes the wait: it is the recipe that makes the difference.
#[test]
fn any_message_passes_without_the_recipe() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("at-data"));
        send(&message("one", "text")).expect_greylisted();
        send(&message("two", "text")).expect_accepted();
    });
}

/// Whatever a sender writes into its headers tells messages apart, and does nothing else.
#[test]
fn hostile_headers_only_tell_messages_apart() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("fingerprint"));
        let long = format!("x{}", "\r\n y".repeat(20_000));
        let hostile = [
            "mode=off",
            "= = =",
            "\"' }{ ${run{/bin/false}} $acl_m_eximgrey \\n\\0",
            "}{mode=off}{policy=none",
            "a\r\n b\r\n\tdelay=9d",
            "action=pass reason=known",
            "\u{e4}\u{fffd}",
            &long,
        ];
        for subject in hostile {
            send(&message(subject, "text")).expect_greylisted();
        }
        world.wait_for_log("action=defer reason=new wait=0", hostile.len());
        send(&message(hostile[2], "text")).expect_accepted();
        assert_eq!(world.log_lines("reason=error").len(), 0);
    });
}
