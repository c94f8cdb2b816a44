//! recipes/sent.conf: answers to our own mail do not wait.

use std::process::Command;

use super::{CLIENT, OTHER, Place, SENDER, USER, include, put};
use crate::smtp::{Client, attempt};
use crate::world::{EXIM, Exim, World, in_own_world, run_with_input};

/// Submits mail as a program of this host does.
pub fn submit_locally(sender: &str, recipient: &str, message: &str) {
    run_with_input(Command::new(EXIM).args(["-odq", "-oi", "-f", sender, recipient]), message);
}

/// What the library would answer now.
fn peek(world: &World, client: &str, sender: &str, recipient: &str) -> String {
    let (library, config) = (world.library(), world.path("eximgrey.toml"));
    world.expand(&format!(
        "${{dlfunc{{{}}}{{greylist_peek}}{{{client}}}{{{sender}}}{{{recipient}}}{{config={}}}}}",
        library.display(),
        config.display()
    ))
}

fn start_with_sent(world: &World) -> Exim<'_> {
    world.configure("delay = \"1h\"");
    let main = put(world, Place::AfterData, &include("sent"))
        + "PEER = 198.51.100.25\nacl_not_smtp = acl_check_data\n";
    world.start_exim(&main)
}

/// Mail of our user, who has authenticated, from `sender` to `recipient`.
fn send_ours(sender: &str, recipient: &str, message: &str) {
    let mut client = Client::connect(CLIENT);
    client.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
    client.mail(sender);
    client.rcpt(recipient).expect_accepted();
    client.message(message).expect_accepted();
    client.quit();
}

/// Who was written to may answer at once, from wherever, and so may its domain for an hour; others wait, and so does mail
/// to others.
#[test]
fn answers_to_our_mail_do_not_wait() {
    in_own_world(|world| {
        let _exim = start_with_sent(world);
        send_ours(USER, SENDER, "Subject: hello\r\n\r\ntext");
        assert_eq!(peek(world, "192.0.2.7", SENDER, USER), "action=pass reason=replied");
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
        attempt("192.0.2.7", "bob@sender.test", USER).expect_accepted();
        attempt("192.0.2.7", "bob@third.test", USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, OTHER).expect_greylisted();
    });
}

/// A server that checks our user's address before it takes our mail gets its 250: from an address of the domain that
/// was written to, or from a host in it.
#[test]
fn domain_that_was_written_to_may_check_our_users_address() {
    in_own_world(|world| {
        world.dns.host("mx.sender.test", "192.0.2.8");
        let _exim = start_with_sent(world);
        let check = |client, sender| {
            let mut client = Client::connect(client);
            client.mail(sender);
            let reply = client.rcpt(USER);
            client.quit();
            reply
        };
        let checks = [("192.0.2.7", "verify@mx.sender.test"), ("192.0.2.8", "verify@hoster.test")];
        for (client, sender) in checks {
            check(client, sender).expect_greylisted();
        }
        send_ours(USER, SENDER, "Subject: hello\r\n\r\ntext");
        for (client, sender) in checks {
            check(client, sender).expect_accepted();
        }
        check("192.0.2.7", "verify@hoster.test").expect_greylisted();
    });
}

/// Each recipient of our mail may answer.
#[test]
fn each_recipient_of_our_mail_may_answer() {
    in_own_world(|world| {
        let _exim = start_with_sent(world);
        let mut client = Client::connect("192.0.2.99");
        client.mail(USER);
        for recipient in [SENDER, "bob@sender.test", "carol@third.test"] {
            client.rcpt(recipient).expect_accepted();
        }
        client.data().expect_accepted();
        client.quit();
        for sender in [SENDER, "bob@sender.test", "carol@third.test"] {
            assert_eq!(peek(world, CLIENT, sender, USER), "action=pass reason=replied", "{sender}");
        }
    });
}

/// Mail of programs of this host is ours too.
#[test]
fn answers_to_local_programs_mail_do_not_wait() {
    in_own_world(|world| {
        let _exim = start_with_sent(world);
        submit_locally(USER, SENDER, "Subject: hello\n\ntext\n");
        assert_eq!(peek(world, CLIENT, SENDER, USER), "action=pass reason=replied");
        // The bounces of this host are nobody's.
        submit_locally("<>", "bob@sender.test", "Subject: bounce\n\ntext\n");
        assert_eq!(peek(world, CLIENT, "bob@sender.test", ""), "action=defer reason=new wait=3600");
    });
}

/// A vacation message opens the door to nobody.
#[test]
fn automatic_answers_do_not_count() {
    in_own_world(|world| {
        let _exim = start_with_sent(world);
        send_ours(USER, SENDER, "Auto-Submitted: auto-replied\r\nSubject: away\r\n\r\ntext");
        assert_eq!(peek(world, CLIENT, SENDER, USER), "action=defer reason=new wait=3600");
        send_ours(USER, SENDER, "Auto-Submitted: no\r\nSubject: here\r\n\r\ntext");
        assert_eq!(peek(world, CLIENT, SENDER, USER), "action=pass reason=replied");
    });
}

/// Mail from outside does not count as ours, whatever sender it claims.
#[test]
fn mail_from_outside_does_not_count() {
    in_own_world(|world| {
        let _exim = start_with_sent(world);
        world.configure("delay = \"0s\"");
        attempt(CLIENT, OTHER, USER).expect_greylisted();
        attempt(CLIENT, OTHER, USER).expect_accepted();
        world.configure("delay = \"1h\"");
        assert_eq!(peek(world, CLIENT, USER, OTHER), "action=defer reason=new wait=3600");
    });
}
