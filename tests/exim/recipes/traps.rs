//! recipes/spamtrap.conf: who writes to a trap has the mail of its whole network deferred.

use std::fs;

use super::{CLIENT, OTHER, Place, SENDER, USER, include, put};
use crate::smtp::{Client, attempt};
use crate::world::{ETC, Exim, World, in_own_world};

fn start_with_trap(world: &World) -> Exim<'_> {
    fs::write(format!("{ETC}/eximgrey-traps"), "trap@example.org:\n").unwrap();
    world.start_exim(&put(world, Place::Choice, &include("spamtrap")))
}

/// A client that writes to a trap has its mail to everybody deferred from then on, known mail too; other
/// networks do not suffer. The trap itself need not exist.
#[test]
fn mail_to_a_trap_traps_the_network() {
    in_own_world(|world| {
        let _exim = start_with_trap(world);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, "spammer@sender.test", "Trap@example.org").expect(550);
        world.wait_for_log(
            "eximgrey: trapped H=[198.51.100.7] F=<spammer@sender.test> RCPT=<trap@example.org>",
            1,
        );
        attempt("198.51.100.9", SENDER, USER).expect_greylisted();
        attempt("198.51.100.9", "bob@sender.test", OTHER).expect_greylisted();
        world.wait_for_log("eximgrey: action=defer reason=trapped wait=", 2);
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
    });
}

/// Callouts to a trap, bounces, our own users and relayed hosts trap nobody.
#[test]
fn only_mail_from_outside_is_trapped() {
    in_own_world(|world| {
        let _exim = start_with_trap(world);
        attempt(CLIENT, "", "trap@example.org").expect(550);
        attempt("192.0.2.99", SENDER, "trap@example.org").expect_accepted();
        let mut client = Client::connect(CLIENT);
        client.command("AUTH PLAIN AHVzZXIAc2VjcmV0").expect(235);
        client.mail(USER);
        client.rcpt("trap@example.org").expect_accepted();
        client.quit();
        // Nor does an address that merely looks like it.
        attempt(CLIENT, SENDER, "trap2@example.org").expect(550);
        for client in [CLIENT, "192.0.2.7"] {
            attempt(client, SENDER, USER).expect_greylisted();
            attempt(client, SENDER, USER).expect_accepted();
        }
        assert_eq!(world.log_lines("trapped").len(), 0);
    });
}

/// A network that has proved itself is spared: one message to a trap does not undo that.
#[test]
fn network_that_has_proved_itself_is_spared() {
    in_own_world(|world| {
        world.configure("delay = \"0s\"\nauto_after = 1");
        let _exim = start_with_trap(world);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, "carol@sender.test", USER).expect_accepted();
        attempt(CLIENT, "carol@sender.test", "trap@example.org").expect(550);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        assert_eq!(world.log_lines("trapped").len(), 0);
    });
}

/// A pool is spared when the domain of its hosts has proved itself, in whatever network.
#[test]
fn pool_that_has_proved_itself_is_spared() {
    in_own_world(|world| {
        world.dns.host("mx1.provider.test", CLIENT);
        world.dns.host("mx2.provider.test", "192.0.2.7");
        world.configure("delay = \"0s\"\nauto_after = 1");
        let _exim = start_with_trap(world);
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt("192.0.2.7", "carol@sender.test", "trap@example.org").expect(550);
        attempt("192.0.2.7", "dave@sender.test", USER).expect_accepted();
        assert_eq!(world.log_lines("trapped").len(), 0);
    });
}
