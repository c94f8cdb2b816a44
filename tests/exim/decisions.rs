//! What a sending server is told, and what the log says about it.

use crate::smtp::{Client, attempt};
use crate::world::in_own_world;

const CLIENT: &str = "198.51.100.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";
const OTHER: &str = "other@example.org";

/// A sender never seen before is told to come back, and the log says why and how long it has to wait.
#[test]
fn new_sender_is_deferred_and_logged_with_reason_and_wait() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        world.wait_for_log("temporarily rejected RCPT <user@example.org>", 1);
        let lines = world.log_lines("eximgrey: action=defer reason=new wait=3600");
        assert_eq!(lines.len(), 1, "{}", world.main_log());
    });
}

/// A retry before the delay is over has to wait for the rest of it.
#[test]
fn early_retry_is_deferred() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        world.wait_for_log("eximgrey: action=defer reason=early wait=", 1);
    });
}

/// A retry after the delay is accepted, and the log says how long the mail has waited.
#[test]
fn retry_after_the_delay_passes_and_is_logged() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("eximgrey: action=pass reason=retried delay=", 1);
        let lines = world.log_lines("reason=retried");
        assert!(
            lines[0].ends_with("H=[198.51.100.7] F=<alice@sender.test> RCPT=<user@example.org>"),
            "{lines:?}"
        );
    });
}

/// Mail that has passed once passes at once from then on, and costs no line in the log.
#[test]
fn known_mail_passes_silently() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        // Known: even where a retry would have to wait.
        world.configure("delay = \"1h\"");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("<= alice@sender.test", 2);
        assert_eq!(world.log_lines("eximgrey:").len(), 2, "{}", world.main_log());
    });
}

/// Bounces have no sender: callouts, which leave after RCPT, are answered, and the bounce itself is
/// deferred when it is sent.
#[test]
fn null_sender_is_accepted_at_rcpt_and_deferred_at_data() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let mut callout = Client::connect(CLIENT);
        callout.mail("");
        callout.rcpt(USER).expect(250);
        callout.quit();

        let mut bounce = Client::connect(CLIENT);
        bounce.mail("");
        bounce.rcpt(USER).expect(250);
        // The callout recorded nothing, else this would be the retry.
        bounce.data().expect_greylisted();
        bounce.mail("");
        bounce.rcpt(USER).expect(250);
        bounce.data().expect_accepted();
        bounce.quit();
        world.wait_for_log("eximgrey: action=pass reason=retried", 1);
        world.wait_for_log("eximgrey: action=defer reason=new", 1);
    });
}

/// Postfix checks senders as double-bounce@ its domain: such a check gets its 250, and leaves nothing behind. Mail from
/// there is deferred when it is sent.
#[test]
fn senders_of_address_checks_are_accepted_at_rcpt_and_deferred_at_data() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        for probe in
            ["double-bounce@mx.sender.test", "Double-Bounce3x9d@mx.sender.test", "postmaster@sender.test"]
        {
            let mut check = Client::connect(CLIENT);
            check.mail(probe);
            check.rcpt(USER).expect(250);
            check.quit();
            attempt(CLIENT, probe, USER).expect_greylisted();
            attempt(CLIENT, probe, USER).expect_accepted();
        }
        world.wait_for_log("reason=retried delay=", 3);
        assert_eq!(world.log_lines("F=<postmaster@sender.test> RCPT=<user@example.org>").len(), 1);
        // What Exim remembers of a sender, it forgets with the message.
        let mut client = Client::connect(CLIENT);
        for other in ["double-bounce.x@sender.test", "postmaster.x@sender.test", "a@postmaster.sender.test"] {
            client.mail("Postmaster@sender.test");
            client.rcpt(USER).expect(250);
            client.command("RSET").expect(250);
            client.mail(other);
            client.rcpt(USER).expect_greylisted();
            client.command("RSET").expect(250);
        }
        client.quit();
    });
}

/// Our own users, who authenticate, are never deferred: not with an address of theirs and not with <>.
#[test]
fn authenticated_client_is_never_deferred() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        for sender in [SENDER, ""] {
            let mut client = Client::connect(CLIENT);
            // base64 of NUL user NUL secret
            client.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
            client.mail(sender);
            client.rcpt(USER).expect(250);
            client.data().expect_accepted();
            client.quit();
        }
        // And nothing was recorded for it.
        attempt(CLIENT, SENDER, USER).expect_greylisted();
    });
}

/// Hosts that we relay for are never deferred.
#[test]
fn relaying_host_is_never_deferred() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt("192.0.2.99", SENDER, USER).expect_accepted();
        attempt("192.0.2.99", "", USER).expect_accepted();
        assert_eq!(world.log_lines("eximgrey:").len(), 0);
    });
}

/// The administrator's own list of hosts to leave out is a macro.
#[test]
fn exempt_hosts_macro_leaves_clients_out() {
    in_own_world(|world| {
        let _exim = world.start_exim("EXIMGREY_EXEMPT_HOSTS = +relay_from_hosts : 198.51.100.0/24");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt("192.0.2.99", SENDER, USER).expect_accepted();
        attempt("192.0.2.98", SENDER, USER).expect_greylisted();
    });
}

/// An address that does not exist here is refused at once, and leaves nothing behind.
#[test]
fn unknown_recipient_is_refused_and_not_recorded() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, "nobody@example.org").expect(550);
        std::fs::write(world.path("users"), "user\nother\nnobody\n").unwrap();
        // Had the first attempt been recorded, this would be its retry.
        attempt(CLIENT, SENDER, "nobody@example.org").expect_greylisted();
    });
}

/// Who says that the recipient has been verified already is believed: it is not done twice.
#[test]
fn verified_macro_spares_the_verification() {
    in_own_world(|world| {
        // Not true here, where the fragment comes first: hence 451 for what would be a 550.
        let _exim = world.start_exim("EXIMGREY_VERIFIED = yes");
        attempt(CLIENT, SENDER, "nobody@example.org").expect_greylisted();
        attempt(CLIENT, SENDER, "nobody@example.org").expect(550);
    });
}

/// Mail that we would not relay is refused for good, not greylisted.
#[test]
fn relaying_attempt_is_refused_not_greylisted() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, "someone@elsewhere.test").expect(550);
    });
}

/// Each recipient of a message is judged for itself: one that is known has not come back.
#[test]
fn two_recipients_of_a_message_are_judged_apart() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();

        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        client.rcpt(USER).expect_accepted();
        client.rcpt(OTHER).expect_greylisted();
        // The message goes to the one that passed.
        client.data().expect_accepted();
        client.mail(SENDER);
        client.rcpt(OTHER).expect_accepted();
        client.data().expect_accepted();
        client.quit();
    });
}

/// A sender that stops at the first 451, as nullmailer does, brings a message to fifteen recipients through at its second
/// attempt, and all of them are known then.
#[test]
fn sender_that_stops_at_the_first_451_gets_through_at_its_second_attempt() {
    in_own_world(|world| {
        let users: Vec<String> = (1..=15).map(|number| format!("user{number}")).collect();
        std::fs::write(world.path("users"), users.join("\n")).unwrap();
        let _exim = world.start_exim("");
        let deliver = || {
            let mut client = Client::connect(CLIENT);
            client.mail(SENDER);
            let accepted = users
                .iter()
                .take_while(|user| client.rcpt(&format!("{user}@example.org")).code == 250)
                .count();
            if accepted == users.len() {
                client.data().expect_accepted();
            }
            client.quit();
            accepted
        };
        assert_eq!(deliver(), 0);
        assert_eq!(deliver(), 15);
        world.wait_for_log("reason=retried delay=", 15);
        assert_eq!(world.log_lines(" by=message ").len(), 14, "{}", world.main_log());
        // Known: even where a retry would have to wait.
        world.configure("delay = \"1h\"");
        assert_eq!(deliver(), 15);
    });
}

/// Who has come back for one message has not come back for another sender's, and other connections are others.
#[test]
fn coming_back_counts_for_the_message_and_the_connection_alone() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        client.rcpt(USER).expect_accepted();
        client.data().expect_accepted();
        client.mail("bob@sender.test");
        client.rcpt(OTHER).expect_greylisted();
        client.command("RSET").expect(250);
        attempt(CLIENT, SENDER, OTHER).expect_greylisted();
        client.quit();
    });
}

/// A recipient whose own delay is longer waits for it, also where the message has come back for another.
#[test]
fn recipient_with_a_longer_delay_waits_for_it() {
    in_own_world(|world| {
        world.configure(
            "delay = \"0s\"\n[policy.strict]\ndelay = \"1h\"\n[recipients]\n\"other@example.org\" = \"strict\"",
        );
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        client.rcpt(USER).expect_accepted();
        client.rcpt(OTHER).expect_greylisted();
        client.quit();
    });
}

/// A recipient that is deferred does not leave its answer to the next one, which is not asked about.
#[test]
fn answer_for_one_recipient_is_not_used_for_the_next() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        client.rcpt(USER).expect_greylisted();
        client.rcpt("nobody@example.org").expect(550);
        client.quit();
    });
}

/// Several messages in one connection are judged one by one.
#[test]
fn several_messages_in_a_connection_are_judged_apart() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let mut client = Client::connect(CLIENT);
        for sender in ["a@sender.test", "b@sender.test"] {
            client.mail(sender);
            client.rcpt(USER).expect_greylisted();
            client.command("RSET").expect(250);
        }
        client.mail("");
        client.rcpt(USER).expect(250);
        client.data().expect_greylisted();
        for sender in ["a@sender.test", "b@sender.test"] {
            client.mail(sender);
            client.rcpt(USER).expect_accepted();
            client.data().expect_accepted();
        }
        client.mail("c@sender.test");
        client.rcpt(USER).expect_greylisted();
        client.quit();
    });
}

/// Observing lets all mail pass and logs what would have happened.
#[test]
fn observe_mode_passes_and_logs_what_would_have_been_deferred() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"\nmode = \"observe\"");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("eximgrey: action=pass reason=new", 1);
        assert_eq!(world.log_lines("would=defer").len(), 1);
    });
}

/// The administrator can word the answer, and may tell the time that is left.
#[test]
fn message_macro_may_tell_the_wait() {
    in_own_world(|world| {
        world.configure("delay = \"1h\"");
        let _exim = world
            .start_exim("EXIMGREY_MESSAGE = Please come back in ${extract{wait}{$acl_m_eximgrey}} seconds");
        let reply = attempt(CLIENT, SENDER, USER).expect(451);
        assert_eq!(reply.text, "4.7.1 Please come back in 3600 seconds");
    });
}

/// Further options reach the library through a macro.
#[test]
fn options_macro_reaches_the_library() {
    in_own_world(|world| {
        let config = world.path("eximgrey.toml");
        let _exim =
            world.start_exim(&format!("EXIMGREY_OPTIONS == {{config={}}}{{delay=2h}}", config.display()));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        world.wait_for_log("eximgrey: action=defer reason=new wait=7200", 1);
    });
}

/// `exim -bh` shows the answer and records nothing.
#[test]
fn host_checking_records_nothing() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        for _ in 0..2 {
            let session = format!("EHLO client.test\nMAIL FROM:<{SENDER}>\nRCPT TO:<{USER}>\nQUIT\n");
            let answers = world.host_check(CLIENT, &session);
            assert!(answers.contains("451 4.7.1 Greylisted"), "{answers}");
        }
        attempt(CLIENT, SENDER, USER).expect_greylisted();
    });
}

/// With EXIMGREY_PRELOAD the daemon holds the library, no file of the store, and greylists as before.
#[test]
fn preload_maps_the_library_into_the_daemon_and_opens_nothing() {
    in_own_world(|world| {
        let exim = world.start_exim("EXIMGREY_PRELOAD = 0");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
        assert!(maps.contains("eximgrey.so"), "the daemon has not loaded it");
        let store = world.store();
        for entry in std::fs::read_dir(format!("/proc/{}/fd", exim.pid())).unwrap() {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap();
            assert!(!target.starts_with(&store), "the daemon opened {target:?}");
        }
        assert!(!maps.contains(store.to_str().unwrap()), "{maps}");
    });
}

/// A reload makes the daemon load the library that is there now: so an upgrade takes effect.
#[test]
fn reload_takes_up_a_new_library() {
    in_own_world(|world| {
        let exim = world.start_exim("EXIMGREY_PRELOAD = 0");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        // A package puts the new file in the place of the old one.
        let new = world.path("new.so");
        std::fs::copy(world.library(), &new).unwrap();
        std::fs::rename(new, world.library()).unwrap();
        let has_it = || {
            let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(world.library()).unwrap());
            let maps = std::fs::read_to_string(format!("/proc/{}/maps", exim.pid())).unwrap();
            maps.contains(&format!("/memfd:eximgrey.so-{inode}-"))
        };
        assert!(!has_it());
        exim.reload();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert!(has_it());
    });
}

/// The limit handed to EXIMGREY_PRELOAD still limits the connections of a host.
#[test]
fn preload_keeps_the_connection_limit() {
    in_own_world(|world| {
        let _exim = world.start_exim("EXIMGREY_PRELOAD = 1");
        let first = Client::connect(CLIENT);
        Client::greeted(CLIENT).1.expect(421);
        world.wait_for_log("too many connections from that IP address", 1);
        first.quit();
    });
}
