//! By what a sending host is recognised when it comes back from another address.

use crate::smtp::{Client, attempt};
use crate::world::{Lacking, in_own_world};

const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";

/// The retry of another host in the same /24 passes.
#[test]
fn another_host_of_the_same_network_passes() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("198.51.100.200", SENDER, USER).expect_accepted();
        world.wait_for_log("reason=retried delay=", 1);
        assert!(world.log_lines("reason=retried")[0].contains("by=network"));
    });
}

/// The retry of a host in another network is a first attempt, when nothing ties the two together.
#[test]
fn a_host_of_another_network_starts_anew() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
        world.wait_for_log("reason=new", 2);
    });
}

/// A provider that sends from many networks waits once, when SPF passes for the same domain.
#[test]
fn the_same_spf_domain_passes_from_another_network() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let networks = "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all";
        world.dns.spf("sender.test", networks);
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_accepted();
        world.wait_for_log("reason=retried", 1);
        assert!(world.log_lines("reason=retried")[0].contains("by=spf"));
    });
}

/// A domain counts only when SPF passes for it: who merely uses its name starts anew.
#[test]
fn a_domain_that_spf_fails_for_is_no_identity() {
    in_own_world(|world| {
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.0/24 -all");
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
        attempt("203.0.113.7", SENDER, USER).expect_greylisted();
    });
}

/// A server that tries IPv4 first and then IPv6 waits once (SPF).
#[test]
fn ipv4_then_ipv6_passes_by_spf() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        world.dns.spf("sender.test", "v=spf1 ip4:198.51.100.7 ip6:2001:db8:1::1 -all");
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("2001:db8:1::1", SENDER, USER).expect_accepted();
        world.wait_for_log("by=spf", 1);
    });
}

/// A server that tries IPv6 first and then IPv4 waits once (its verified host name).
#[test]
fn ipv6_then_ipv4_passes_by_host_name() {
    in_own_world(|world| {
        world.dns.host("mx1.provider.test", "2001:db8:1::1");
        world.dns.host("mx2.provider.test", "198.51.100.7");
        let _exim = world.start_exim("");
        attempt("2001:db8:1::1", SENDER, USER).expect_greylisted();
        attempt("198.51.100.7", SENDER, USER).expect_accepted();
        world.wait_for_log("by=host", 1);
    });
}

/// IPv6 hosts are known by their /64.
#[test]
fn ipv6_hosts_of_the_same_network_pass() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt("2001:db8:1::1", SENDER, USER).expect_greylisted();
        attempt("2001:db8:1::2", SENDER, USER).expect_accepted();
        attempt("2001:db8:2::1", SENDER, USER).expect_greylisted();
    });
}

/// A bounce from another host of the same provider passes after DATA too (its verified host name).
#[test]
fn bounces_of_a_pool_pass_by_host_name() {
    in_own_world(|world| {
        world.dns.host("mx1.provider.test", "198.51.100.7");
        world.dns.host("mx2.provider.test", "192.0.2.7");
        let _exim = world.start_exim("");
        attempt("198.51.100.7", "", USER).expect_greylisted();
        attempt("192.0.2.7", "", USER).expect_accepted();
        world.wait_for_log("by=host", 1);
    });
}

/// When DNS is out of order, mail waits and passes as ever; no answer comes from the DNS failure.
#[test]
fn dns_trouble_defers_nobody_for_longer() {
    in_own_world(|world| {
        world.dns.break_down();
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("198.51.100.7", SENDER, USER).expect_accepted();
        attempt("198.51.100.7", SENDER, USER).expect_accepted();
        world.wait_for_log("reason=retried", 1);
    });
}

/// SPF is looked up once a message, for mail that waits; not for mail that is known already.
#[test]
fn spf_is_asked_only_about_clients_that_wait() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let spf_questions = || {
            let queries = world.dns.take_queries();
            queries.iter().filter(|query| *query == "sender.test/16").count()
        };
        let mut client = Client::connect("198.51.100.7");
        client.mail(SENDER);
        client.rcpt(USER).expect_greylisted();
        client.rcpt("other@example.org").expect_greylisted();
        client.quit();
        assert_eq!(spf_questions(), 1, "two recipients of one message");
        attempt("198.51.100.7", SENDER, USER).expect_accepted();
        assert_eq!(spf_questions(), 1, "a retry");
        attempt("198.51.100.7", SENDER, USER).expect_accepted();
        assert_eq!(spf_questions(), 0, "known mail");
    });
}

/// One check of SPF serves all recipients of a message, and a check of the configuration's own serves us.
#[test]
fn spf_is_checked_once_a_message() {
    if Lacking::Spf.said() {
        return;
    }
    in_own_world(|world| {
        let _exim = world.start_exim("");
        let session = "EHLO client.test\nMAIL FROM:<alice@sender.test>\nRCPT TO:<user@example.org>\n\
                       RCPT TO:<other@example.org>\nQUIT\n";
        let printed = world.host_check("198.51.100.7", session);
        let deferred = printed.lines().filter(|line| line.starts_with("451 4.7.1 Greylisted"));
        assert_eq!(deferred.count(), 2, "{printed}");
        assert_eq!(printed.matches("check spf = pass").count(), 1, "{printed}");
    });
}

/// The administrator can have SPF left alone.
#[test]
fn spf_macro_switches_the_check_off() {
    in_own_world(|world| {
        let networks = "v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all";
        world.dns.spf("sender.test", networks);
        let _exim = world.start_exim("EXIMGREY_SPF = no");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
        let queries = world.dns.take_queries();
        assert!(!queries.contains(&"sender.test/16".to_owned()), "{queries:?}");
    });
}

/// The administrator can have clients known by their network alone.
#[test]
fn identities_macro_may_be_empty() {
    in_own_world(|world| {
        world.dns.spf("sender.test", "v=spf1 +all");
        world.dns.host("mx1.provider.test", "198.51.100.7");
        world.dns.host("mx2.provider.test", "192.0.2.7");
        let _exim = world.start_exim("EXIMGREY_IDENTITIES =");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.8", SENDER, USER).expect_accepted();
    });
}

/// A host name that does not lead back to the address is no identity.
#[test]
fn a_host_name_that_is_not_verified_is_no_identity() {
    in_own_world(|world| {
        world.dns.host("mx1.provider.test", "198.51.100.7");
        world.dns.pointer("mx1.provider.test", "192.0.2.7");
        let _exim = world.start_exim("");
        attempt("198.51.100.7", SENDER, USER).expect_greylisted();
        attempt("192.0.2.7", SENDER, USER).expect_greylisted();
    });
}
