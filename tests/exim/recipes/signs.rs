//! recipes/signs.conf: what Exim knows of a client stands in what is learned of its attempts.

use super::{CLIENT, Place, SENDER, USER, include, put};
use crate::smtp::Client;
use crate::world::{World, in_own_world};
use std::process::Command;

const SETTINGS: &str = "signs = [\"dnsbl\", \"helo\", \"plain\", \"dynamic\"]";

/// What was learned of one first attempt.
fn learned(world: &World, helo: &str) -> String {
    world.configure(SETTINGS);
    let config = world.path("eximgrey.toml");
    let macros = format!(
        "EXIMGREY_DNSBL = bl.test\nEXIMGREY_OPTIONS == {{config={}}}{{sign=$acl_m_eximgrey_signs}}\n",
        config.display()
    );
    let _exim = world.start_exim(&(macros + &put(world, Place::Choice, &include("signs"))));
    let mut client = Client::connect_as(CLIENT, helo);
    client.mail(SENDER);
    client.rcpt(USER).expect_greylisted();
    client.quit();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
    command.arg("--config").arg(world.path("eximgrey.toml")).args(["list", "learned"]);
    let out = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let line = out.lines().next().unwrap_or_else(|| panic!("nothing learned"));
    assert!(line.contains(" 0 0 0 1 "), "{line}");
    line.rsplit_once("sign=").map_or_else(String::new, |(_, signs)| signs.to_owned())
}

/// A client that is in order but for TLS, which this Exim does not offer.
fn spotless(world: &World) {
    world.dns.host("mail.sender.test", CLIENT);
}

#[test]
fn a_client_in_order_has_no_sign_but_that_it_came_without_tls() {
    in_own_world(|world| {
        spotless(world);
        assert_eq!(learned(world, "mail.sender.test"), "plain");
    });
}

#[test]
fn a_client_on_a_dns_list_has_a_sign() {
    in_own_world(|world| {
        spotless(world);
        world.dns.address("7.100.51.198.bl.test", "127.0.0.2".parse().unwrap());
        assert_eq!(learned(world, "mail.sender.test"), "dnsbl,plain");
    });
}

#[test]
fn a_helo_that_is_not_the_clients_is_a_sign() {
    in_own_world(|world| {
        spotless(world);
        assert_eq!(learned(world, "mail.other.test"), "helo,plain");
    });
}

#[test]
fn a_dial_up_host_name_is_a_sign() {
    in_own_world(|world| {
        world.dns.host("c0ffee.dyn.sender.test", CLIENT);
        assert_eq!(learned(world, "c0ffee.dyn.sender.test"), "plain,dynamic");
    });
}

#[test]
fn dns_that_does_not_answer_is_no_sign() {
    in_own_world(|world| {
        world.dns.break_down();
        assert_eq!(learned(world, "[198.51.100.7]"), "plain");
    });
}

/// All of them are as many as a call may have.
#[test]
fn a_client_may_have_all_signs() {
    in_own_world(|world| {
        world.dns.host("c0ffee.dyn.sender.test", CLIENT);
        world.dns.address("7.100.51.198.bl.test", "127.0.0.2".parse().unwrap());
        assert_eq!(learned(world, "mail.other.test"), "dnsbl,helo,plain,dynamic");
    });
}
