//! recipes/at-data.conf: callouts and address checks never see a 451, mail does.

use super::peer::{PEER, Peer};
use super::{CLIENT, OTHER, Place, SENDER, USER, include, put};
use crate::smtp::{Client, attempt};
use crate::world::{Lacking, in_own_world};

/// At RCPT everybody gets 250; the message itself has to wait, that of the null sender too.
#[test]
fn mail_waits_after_data() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("at-data"));
        for sender in [SENDER, ""] {
            let mut client = Client::connect(CLIENT);
            client.mail(sender);
            client.rcpt(USER).expect_accepted();
            client.command("RSET").expect(250);
            client.mail(sender);
            client.rcpt(USER).expect_accepted();
            client.data().expect_greylisted();
            client.mail(sender);
            client.rcpt(USER).expect_accepted();
            client.data().expect_accepted();
            client.quit();
        }
        world.wait_for_log("eximgrey: action=pass reason=retried", 2);
        world.wait_for_log("eximgrey: action=defer reason=new", 2);
    });
}

/// All recipients of a message wait at the same time, and pass together.
#[test]
fn recipients_of_a_message_wait_together() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("at-data"));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        let mut client = Client::connect(CLIENT);
        let mut send = |recipients: &[&str]| {
            client.mail(SENDER);
            for recipient in recipients {
                client.rcpt(recipient).expect_accepted();
            }
            client.data()
        };
        std::fs::write(world.path("users"), "user\nother\nthird\n").unwrap();
        // One is known, two are not; it is first and last.
        send(&[USER, OTHER, "third@example.org", USER]).expect_greylisted();
        // Had one of them not been asked about, it would wait now.
        send(&[OTHER, "third@example.org", USER]).expect_accepted();
        world.configure("delay = \"1h\"");
        send(&[OTHER]).expect_accepted();
        send(&["third@example.org"]).expect_accepted();
        client.quit();
        assert_eq!(world.log_lines("action=defer").len(), 2);
    });
}

/// Own users, relayed hosts and unknown recipients are treated as ever.
#[test]
fn those_left_out_at_rcpt_are_left_out_after_data() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("at-data"));
        attempt("192.0.2.99", SENDER, USER).expect_accepted();
        attempt("192.0.2.99", "", USER).expect_accepted();
        attempt(CLIENT, SENDER, "nobody@example.org").expect(550);
        let mut client = Client::connect(CLIENT);
        client.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
        client.mail(SENDER);
        client.rcpt(USER).expect_accepted();
        client.data().expect_accepted();
        client.quit();
        assert_eq!(world.log_lines("eximgrey:").len(), 0);
    });
}

/// A pool is known by its SPF domain after DATA too.
#[test]
fn spf_domain_counts_after_data() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all");
        let _exim = world.start_exim(&include("at-data"));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
        world.wait_for_log("by=spf", 1);
    });
}

/// A server that asks us whether a sender of ours exists, before it takes mail from it, gets its answer,
/// whether we greylist at RCPT or after DATA.
#[test]
fn sender_callouts_of_others_are_answered() {
    for main in [include("at-data"), String::new()] {
        in_own_world(move |world| {
            let _exim = world.start_exim(&main);
            let peer = Peer::new(world, "require verify = sender/callout=5s,no_cache", "");
            let ask = |sender: &str| peer.host_check("203.0.113.25", &session(sender, SENDER));
            let printed = ask(USER);
            assert!(printed.contains("\n250 Accepted"), "{printed}");
            // It did ask: an address that we do not have is refused.
            let printed = ask("nobody@example.org");
            assert!(printed.contains("\n550"), "{printed}");
        });
    }
}

fn session(sender: &str, recipient: &str) -> String {
    format!("EHLO x.test\nMAIL FROM:<{sender}>\nRCPT TO:<{recipient}>\nQUIT\n")
}

/// A backup server that asks us about recipients before it takes mail for them (with its client's sender)
/// gets its answer.
#[test]
fn recipient_callouts_of_a_backup_server_are_answered() {
    in_own_world(|world| {
        let _exim = world.start_exim(&include("at-data"));
        let acl = "require verify = recipient/callout=5s,no_cache,use_sender";
        let peer = Peer::new(world, acl, "");
        let ask = |recipient: &str| peer.host_check("192.0.2.50", &session(SENDER, recipient));
        let printed = ask(USER);
        assert!(printed.contains("\n250 Accepted"), "{printed}");
        let printed = ask("nobody@example.org");
        assert!(printed.contains("\n550"), "{printed}");
    });
}

/// Two servers that check each other's senders by callouts: we ask theirs, they ask ours, and mail gets
/// through in both directions after its wait.
#[test]
fn callouts_both_ways_get_along() {
    for at_data in [true, false] {
        in_own_world(move |world| {
            let ours = "require verify = sender/callout=5s,no_cache\n";
            let main = put(world, Place::Choice, ours) + &format!("PEER = {PEER}\n");
            let main = if at_data { main + &include("at-data") } else { main };
            let _exim = world.start_exim(&main);
            let acl = "require verify = sender/callout=5s,no_cache\nrequire verify = recipient";
            let peer = Peer::new(world, acl, "");
            let _daemon = peer.serve();

            let message = "From: alice@sender.test\nSubject: test\n\ntext\n";
            peer.send(SENDER, USER, message);
            world.wait_for_log("eximgrey: action=defer reason=new", 1);
            peer.retry();
            world.wait_for_log("eximgrey: action=pass reason=retried", 1);
            world.wait_for_log("<= alice@sender.test", 1);
            // A sender that they do not have is refused, not greylisted.
            attempt(CLIENT, "mallory@sender.test", USER).expect(550);

            // And they believe us: a sender of ours is good, another one is not.
            let ask = |sender: &str| peer.host_check("203.0.113.25", &session(sender, SENDER));
            assert!(ask(USER).contains("\n250 Accepted"));
            assert!(ask("nobody@example.org").contains("\n550"));
        });
    }
}
