//! recipes/selective.conf: only clients that look suspicious have to wait.

use std::net::Ipv4Addr;

use super::{CLIENT, OTHER, Place, SENDER, USER, include, put};
use crate::smtp::{Client, Reply, attempt};
use crate::world::{Exim, FRAGMENTS, Lacking, World, in_own_world};

/// A client without a fault: a name of its own that it says in HELO, and SPF.
fn spotless(world: &World) {
    world.dns.host("mail.sender.test", CLIENT);
    world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 -all");
}

/// Starts Exim with the recipe, greylisting from `points` on.
fn start<'w>(world: &'w World, points: u32) -> Exim<'w> {
    let macros = format!("EXIMGREY_SUSPICION = {points}\nEXIMGREY_DNSBL = bl.test!&0.255.255.0\n");
    world.start_exim(&(macros + &put(world, Place::Choice, &include("selective"))))
}

fn attempt_as(helo: &str, sender: &str) -> Reply {
    let mut client = Client::connect_as(CLIENT, helo);
    client.mail(sender);
    let reply = client.rcpt(USER);
    client.quit();
    reply
}

/// A client without a mark passes at once, and nothing is recorded for it.
#[test]
fn client_without_a_mark_passes() {
    in_own_world(|world| {
        spotless(world);
        let _exim = start(world, 1);
        attempt_as("mail.sender.test", SENDER).expect_accepted();
        assert_eq!(world.log_lines("eximgrey").len(), 0);
    });
}

/// One mark, and no more than one: enough where the administrator says so, not enough where two are asked for.
#[track_caller]
fn expect_one_mark(helo: &'static str, faulty: impl Fn(&World) + Clone + Send + 'static) {
    for (points, greylisted) in [(1, true), (2, false)] {
        let faulty = faulty.clone();
        in_own_world(move |world| {
            faulty(world);
            let _exim = start(world, points);
            let reply = attempt_as(helo, SENDER);
            if greylisted { reply.expect_greylisted() } else { reply.expect_accepted() }
        });
    }
}

/// A HELO with the name of somebody else is a mark.
#[test]
fn helo_of_somebody_else_is_a_mark() {
    expect_one_mark("mail.other.test", spotless);
}

/// SPF that fails is a mark.
#[test]
fn spf_fail_is_a_mark() {
    if Lacking::Spf.said() {
        return;
    }
    expect_one_mark("mail.sender.test", |world| {
        world.dns.host("mail.sender.test", CLIENT);
        world.dns.spf("sender.test", "v=spf1 ip4:192.0.2.7 -all");
    });
}

/// A sender's domain without SPF is a mark.
#[test]
fn spf_none_is_a_mark() {
    if Lacking::Spf.said() {
        return;
    }
    expect_one_mark("mail.sender.test", |world| world.dns.host("mail.sender.test", CLIENT));
}

/// A host name made from the address is a mark.
#[test]
fn generated_host_name_is_a_mark() {
    expect_one_mark("198-51-100-7.sender.test", |world| {
        world.dns.host("198-51-100-7.sender.test", CLIENT);
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 -all");
    });
}

/// So is one of a cable network's customers.
#[test]
fn dial_up_host_name_is_a_mark() {
    expect_one_mark("c0ffee.dyn.sender.test", |world| {
        world.dns.host("c0ffee.dyn.sender.test", CLIENT);
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 -all");
    });
}

/// A client without a host name has a mark for that. (Its HELO, an address literal, is in order.)
#[test]
fn missing_host_name_is_a_mark() {
    expect_one_mark("[198.51.100.7]", |world| {
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 -all");
    });
}

/// A host name that does not lead back is as good as none.
#[test]
fn host_name_that_does_not_lead_back_is_a_mark() {
    expect_one_mark("[198.51.100.7]", |world| {
        world.dns.pointer("mail.sender.test", CLIENT);
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 -all");
    });
}

/// A client on a blocklist is greylisted for that alone; the list's own error codes are no listing.
#[test]
fn blocklist_is_enough_by_itself() {
    for (answer, greylisted) in [([127, 0, 0, 4], true), ([127, 255, 255, 254], false)] {
        in_own_world(move |world| {
            spotless(world);
            world.dns.address("7.100.51.198.bl.test", Ipv4Addr::from(answer));
            let _exim = start(world, 2);
            let reply = attempt_as("mail.sender.test", SENDER);
            if greylisted { reply.expect_greylisted() } else { reply.expect_accepted() }
        });
    }
}

/// DNS that does not answer is no mark: nobody waits for it.
#[test]
fn dns_trouble_is_no_mark() {
    in_own_world(|world| {
        spotless(world);
        world.dns.break_down();
        let _exim = start(world, 1);
        attempt_as("[198.51.100.7]", SENDER).expect_accepted();
    });
}

/// Two marks greylist by default, a retry passes, each recipient is judged, and the marks are counted
/// once a message.
#[test]
fn two_marks_greylist_each_recipient() {
    in_own_world(|world| {
        let _exim = start(world, 2);
        let mut client = Client::connect(CLIENT);
        client.mail(SENDER);
        client.rcpt(USER).expect_greylisted();
        let first = world.dns.take_queries();
        assert!(first.iter().any(|query| query.starts_with("7.100.51.198.bl.test")), "{first:?}");
        client.rcpt(OTHER).expect_greylisted();
        assert_eq!(world.dns.take_queries(), Vec::<String>::new());
        client.quit();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, SENDER, OTHER).expect_accepted();
    });
}

/// Marks are counted anew for each recipient: one mark does not become two.
#[test]
fn marks_are_not_summed_over_recipients() {
    in_own_world(|world| {
        spotless(world);
        let _exim = start(world, 2);
        let mut client = Client::connect_as(CLIENT, "mail.other.test");
        client.mail(SENDER);
        for recipient in [USER, OTHER, "User@example.org"] {
            client.rcpt(recipient).expect_accepted();
        }
        client.quit();
    });
}

/// A file of choices may have several recipes and statements of one's own, as README.md has it.
#[test]
fn choices_of_ones_own_may_be_added() {
    in_own_world(|world| {
        std::fs::write("/etc/exim4/eximgrey-opt-out", "other@example.org:\n").unwrap();
        let readme = std::fs::read_to_string(format!("{FRAGMENTS}/recipes/README.md")).unwrap();
        let (_, example) =
            readme.split_once("recipes and statements of yours into it:\n\n").expect("the example");
        let (example, _) = example.split_once("\n\n").unwrap();
        let example = example.replace("/usr/share/eximgrey/exim-conf", FRAGMENTS);
        world.dns.spf("partner.example", "v=spf1 ip4:198.51.100.7 -all");
        let _exim =
            world.start_exim(&("EXIMGREY_DNSBL =\n".to_owned() + &put(world, Place::Choice, &example)));
        if !Lacking::Spf.said() {
            attempt(CLIENT, "a@partner.example", USER).expect_accepted();
        }
        attempt("192.0.2.7", "a@partner.example", USER).expect_greylisted();
        attempt(CLIENT, SENDER, OTHER).expect_accepted();
        attempt(CLIENT, SENDER, USER).expect_greylisted();
    });
}

/// The null sender's mail is judged in the same way, after DATA.
#[test]
fn null_sender_is_greylisted_by_marks_too() {
    in_own_world(|world| {
        let _exim = start(world, 2);
        attempt(CLIENT, "", USER).expect_greylisted();
        attempt(CLIENT, "", USER).expect_accepted();
    });
    in_own_world(|world| {
        spotless(world);
        world.dns.spf("mail.sender.test", "v=spf1 ip4:198.51.100.7 -all");
        let _exim = start(world, 1);
        let mut client = Client::connect_as(CLIENT, "mail.sender.test");
        client.mail("");
        client.rcpt(USER).expect_accepted();
        client.data().expect_accepted();
        client.quit();
        assert_eq!(world.log_lines("eximgrey").len(), 0);
    });
}
