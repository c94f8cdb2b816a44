//! The blocks of docs/topologies.md, each pasted into a configuration.

use std::fs;
use std::path::Path;

use crate::recipes::peer::Peer;
use crate::recipes::{CLIENT, OTHER, Place, SENDER, USER, dkim, put};
use crate::smtp::{Client, attempt};
use crate::world::{FRAGMENTS, World, in_own_world};

/// The blocks below `heading`, with the fragments where the test has them.
fn blocks<const COUNT: usize>(heading: &str) -> [String; COUNT] {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/topologies.md")).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).expect("the section");
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let blocks =
        lines.map(|line| line.trim_start().replace("/usr/share/eximgrey/exim-conf", FRAGMENTS) + "\n");
    blocks.collect::<Vec<_>>().try_into().expect("as many blocks as that, each of a line")
}

/// Who is not on the list waits, as ever.
fn expect_strangers_wait() {
    attempt(CLIENT, "stranger@third.test", USER).expect_greylisted();
    attempt(CLIENT, "stranger@third.test", USER).expect_accepted();
}

/// The backup's mail does not wait, neither does that of our own hosts.
#[test]
fn backup_hands_on_without_a_wait() {
    in_own_world(|world| {
        let [exempt] = blocks("Backup MX");
        let _exim = world.start_exim(&exempt);
        for backup in ["192.0.2.50", "2001:db8:1::1"] {
            attempt(backup, SENDER, USER).expect_accepted();
            attempt(backup, "", USER).expect_accepted();
        }
        attempt("2001:db8:2::1", SENDER, USER).expect_greylisted();
        attempt("192.0.2.99", SENDER, USER).expect_accepted();
        expect_strangers_wait();
    });
}

/// The gateway's own mail does not wait. Of a balancer's connections those wait whose client is new, and not the next client's
/// because the first one has come back.
#[test]
fn gateway_is_left_out_and_a_balancer_is_looked_through() {
    in_own_world(|world| {
        let [exempt, proxy] = blocks("Behind a gateway");
        {
            let _exim = world.start_exim(&exempt);
            attempt("192.0.2.60", SENDER, USER).expect_accepted();
            expect_strangers_wait();
        }
        let _exim = world.start_exim(&proxy);
        let send = |client: &str, sender: &str| {
            let mut client = Client::connect_through("192.0.2.60", client);
            client.mail(sender);
            let reply = client.rcpt(OTHER);
            client.quit();
            reply
        };
        send(CLIENT, SENDER).expect_greylisted();
        send("203.0.113.7", SENDER).expect_greylisted();
        send(CLIENT, SENDER).expect_accepted();
        world.wait_for_log(" by=network H=[198.51.100.7]", 1);
        // And who connects by himself is who he is.
        attempt("192.0.2.7", SENDER, OTHER).expect_greylisted();
    });
}

/// Hosts that the smarthost relays for never wait, and others cannot relay.
#[test]
fn hosts_behind_a_smarthost_never_wait() {
    in_own_world(|world| {
        let [hosts] = blocks("Smarthost");
        let _exim = world.start_exim(&("OWN_RELAY_FROM_HOSTS = yes\n".to_owned() + &hosts));
        attempt("192.0.2.9", USER, "someone@elsewhere.test").expect_accepted();
        attempt("192.0.2.9", SENDER, USER).expect_accepted();
        attempt(CLIENT, USER, "someone@elsewhere.test").expect(550);
        expect_strangers_wait();
    });
}

/// The answer is the one that the page shows.
#[test]
fn answer_names_a_page() {
    in_own_world(|world| {
        let [url] = blocks("A 451 with a page that explains it");
        let _exim = world.start_exim(&url);
        let text = attempt(CLIENT, SENDER, USER).expect(451).text.replace("\n4.7.1 ", " ");
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/topologies.md")).unwrap();
        assert!(page.contains(&format!("`451 {text}`")), "{text}");
    });
}

/// As in an Exim that was built without: its macro for SPF is replaced by one that no Exim defines.
fn take_spf_away(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            take_spf_away(&path);
        } else {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace("_HAVE_SPF", "_HAVE_NONE")).unwrap();
        }
    }
}

/// A pool in two networks, whose SPF record says so, and whose hosts have a name if `named`.
fn without_spf(world: &World, named: bool) {
    take_spf_away(Path::new(FRAGMENTS));
    world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all");
    if named {
        world.dns.host("mx1.provider.test", CLIENT);
        world.dns.host("mx2.provider.test", "192.0.2.7");
    }
}

/// Without SPF a pool is recognised by its hosts' names; one without names waits in each network.
#[test]
fn pool_without_spf_is_recognised_by_its_host_names() {
    let [lookup, ..]: [String; 3] = blocks("An Exim without SPF");
    assert!(include_str!("small.conf").contains(&format!("\n{lookup}")));
    for named in [true, false] {
        in_own_world(move |world| {
            without_spf(world, named);
            let _exim = world.start_exim("");
            attempt(CLIENT, SENDER, USER).expect_greylisted();
            let retry = attempt("192.0.2.7", SENDER, USER);
            if named {
                retry.expect_accepted()
            } else {
                retry.expect_greylisted()
            }
            attempt("192.0.2.7", SENDER, USER).expect_accepted();
        });
    }
}

/// Or by its signature.
#[test]
fn pool_without_spf_is_recognised_by_its_signature() {
    in_own_world(|world| {
        let [_, recipe, _] = blocks("An Exim without SPF");
        without_spf(world, false);
        let _exim = world.start_exim(&recipe);
        let peer = Peer::new(world, "", &dkim::signer(world, "sender.test"));
        peer.send(SENDER, USER, dkim::MESSAGE);
        world.wait_for_log("action=defer reason=new", 1);
        peer.move_to("192.0.2.7");
        peer.retry();
        world.wait_for_log(" by=dkim H=[192.0.2.7]", 1);
    });
}

/// Or by a check of SPF that another statement has made.
#[test]
fn pool_without_spf_is_recognised_by_anothers_check() {
    in_own_world(|world| {
        let [.., identities] = blocks::<3>("An Exim without SPF");
        without_spf(world, false);
        // The check itself: by a daemon, a look-up, whatever there is. Here it knows who sends.
        let checked = "warn\n set acl_m_spf = ${if eq{$sender_address_domain}{sender.test}{pass}{none}}\n";
        let _exim = world.start_exim(&(identities + &put(world, Place::BeforeRcpt, checked)));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
        world.wait_for_log(" by=spf H=[192.0.2.7]", 1);
        attempt(CLIENT, "bob@third.test", USER).expect_greylisted();
        attempt("192.0.2.7", "bob@third.test", USER).expect_greylisted();
    });
}
