//! The rules of postgrey 1.37 and greylistd 0.9 (Debian 12) with their defaults, written anew from `facts/peers.md`
//! section 2a and `facts/import-formats.md` sections 1 and 2. No code of theirs is here. `daemons.py` asks the daemons.
//!
//! - postgrey. 2a: key, masks, delay, retry window, maximal age, the late first retry, passes of an exact address.
//!   Import formats: a triplet has passed when its last attempt came the delay after its first; expiry. Nightly purge: 2a.
//! - greylistd. 2a: key, mask, delay, window, life, an early retry restarts nothing. Whatever it was last asked counts for
//!   window and life.
//!
//! Left out, because no pool of the plan meets it: whitelists that are shipped (the domains are not on them), what
//! postgrey makes of a sender (it changes numbers, `+` tags and BATV; the plan's have none), and that greylistd in Debian 12
//! forgets everything at a restart (it is never restarted here).

use super::{Attempt, Greylister};
use eximgrey::time::{Seconds, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;

/// Client, sender and recipient; the client as far as it counts.
type Triplet = (IpAddr, String, String);

fn triplet(client: IpAddr, attempt: &Attempt<'_>) -> Triplet {
    (client, attempt.sender.to_lowercase(), attempt.recipient.to_lowercase())
}

/// IPv4 /24 (postgrey's `--ipv4cidr`, greylistd's `-netmask=24`).
const fn ipv4_network(address: std::net::Ipv4Addr) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::from_bits(address.to_bits() & !0xff))
}

/// Seen first and last.
#[derive(Clone, Copy)]
struct Seen {
    first: Timestamp,
    last: Timestamp,
}

/// postgrey: triplets of a network, and addresses that have proved themselves.
#[derive(Default)]
pub struct Postgrey {
    triplets: HashMap<Triplet, Seen>,
    /// By exact address: passes, and when the last was counted.
    clients: HashMap<IpAddr, (u32, Timestamp)>,
}

impl Postgrey {
    /// `--delay`
    const DELAY: Seconds = Seconds(300);
    /// `--retry-window`: a first retry later than that begins anew.
    const WINDOW: Seconds = Seconds::DAY.times(2);
    /// `--max-age`, since last seen.
    const LIFE: Seconds = Seconds::DAY.times(35);
    /// `--auto-whitelist-clients`
    const PASSES: u32 = 5;
    /// A client's passes count, and its last-seen moves, once in this time.
    const COUNTED: Seconds = Seconds::HOUR;

    /// Whether what was last seen at `last` is gone at `now`. It is deleted in a night, not at the moment: that is the
    /// kinder reading, since until then it still counts.
    fn purged(last: Timestamp, life: Seconds, now: Timestamp) -> bool {
        let two_o_clock = |time: Timestamp| time.0.saturating_sub(2 * 3_600) / 86_400;
        let expires = last.plus(life);
        two_o_clock(now) > two_o_clock(expires)
    }
}

impl Greylister for Postgrey {
    fn name(&self) -> &'static str {
        "postgrey"
    }

    fn passes(&mut self, attempt: &Attempt<'_>, now: Timestamp) -> bool {
        let counted = self
            .clients
            .get(&attempt.client)
            .copied()
            .filter(|(_, last)| !Self::purged(*last, Self::LIFE, now));
        let due = counted.is_none_or(|(_, last)| now.since(last) >= Self::COUNTED);
        let passes = counted.map_or(0, |(passes, _)| passes);
        if passes >= Self::PASSES {
            if due {
                self.clients.insert(attempt.client, (passes + 1, now));
            }
            // No triplet is made.
            return true;
        }

        let network = match attempt.client {
            IpAddr::V4(address) => ipv4_network(address),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        };
        let key = triplet(network, attempt);
        let found = self.triplets.get(&key).copied().filter(|seen| {
            let life = if seen.last.since(seen.first) >= Self::DELAY { Self::LIFE } else { Self::WINDOW };
            !Self::purged(seen.last, life, now)
        });
        let had_passed = found.is_some_and(|seen| seen.last.since(seen.first) >= Self::DELAY);
        let first = found
            .map(|seen| seen.first)
            .filter(|first| had_passed || now.since(*first) <= Self::WINDOW)
            .unwrap_or(now);
        self.triplets.insert(key, Seen { first, last: now });
        let passes_now = now.since(first) >= Self::DELAY;
        if passes_now && !had_passed && due {
            self.clients.insert(attempt.client, (passes + 1, now));
        }
        passes_now
    }
}

/// What of an address greylistd is told (its recipe for Exim).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// As it is: the default.
    Exact,
    /// IPv4 as its /24, `-netmask=24`. IPv6 stays as it is.
    Network,
}

/// greylistd: triplets, grey or white; no client ever proves itself.
pub struct Greylistd {
    mask: Mask,
    grey: HashMap<Triplet, Seen>,
    white: HashMap<Triplet, Timestamp>,
}

impl Greylistd {
    /// `retryMin`
    const DELAY: Seconds = Seconds(600);
    /// `retryMax`, since last seen: the daemon's way, and kinder than since first seen, as the facts have it.
    const WINDOW: Seconds = Seconds::HOUR.times(8);
    /// `expire`, since last seen.
    const LIFE: Seconds = Seconds::DAY.times(60);

    pub fn new(mask: Mask) -> Self {
        Self { mask, grey: HashMap::new(), white: HashMap::new() }
    }
}

impl Greylister for Greylistd {
    fn name(&self) -> &'static str {
        match self.mask {
            Mask::Exact => "greylistd",
            Mask::Network => "greylistd, /24",
        }
    }

    fn passes(&mut self, attempt: &Attempt<'_>, now: Timestamp) -> bool {
        let client = match (self.mask, attempt.client) {
            (Mask::Network, IpAddr::V4(address)) => ipv4_network(address),
            (_, address) => address,
        };
        let key = triplet(client, attempt);
        let known = self.white.get(&key).is_some_and(|last| now.since(*last) <= Self::LIFE);
        let grey = self.grey.get(&key).copied().filter(|seen| now.since(seen.last) <= Self::WINDOW);
        let passes = known || grey.is_some_and(|seen| now.since(seen.first) > Self::DELAY);
        if passes {
            self.grey.remove(&key);
            self.white.insert(key, now);
        } else {
            let first = grey.map_or(now, |seen| seen.first);
            self.grey.insert(key, Seen { first, last: now });
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_767_268_800);

    fn at(greylister: &mut impl Greylister, client: &str, recipient: &str, after: u32) -> bool {
        let client = client.parse().unwrap();
        let attempt = Attempt { client, sender: "a@x.example", recipient, spf: None, host: "h.x.example" };
        greylister.passes(&attempt, NOON.plus(Seconds(after)))
    }

    const DAY: u32 = 86_400;

    #[test]
    fn postgrey_knows_a_network_by_its_first_24_or_64_bits() {
        let mut it = Postgrey::default();
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 0));
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 299));
        assert!(!at(&mut it, "192.0.3.1", "b@y.example", 300));
        assert!(at(&mut it, "192.0.2.200", "B@y.example", 300));
        assert!(!at(&mut it, "2001:db8::1", "b@y.example", 0));
        assert!(at(&mut it, "2001:db8::ffff:0:0:1", "b@y.example", 300));
        assert!(!at(&mut it, "2001:db8:0:1::1", "b@y.example", 300));
    }

    #[test]
    fn postgrey_begins_anew_after_two_days_and_forgets_after_35() {
        let mut it = Postgrey::default();
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 0));
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 2 * DAY + 1));
        assert!(at(&mut it, "192.0.2.1", "b@y.example", 2 * DAY + 301));
        assert!(at(&mut it, "192.0.2.1", "b@y.example", 37 * DAY));
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 73 * DAY));
    }

    #[test]
    fn postgrey_trusts_an_address_after_five_passes_an_hour_apart() {
        let mut it = Postgrey::default();
        let pass = |it: &mut Postgrey, recipient: &str, after: u32| {
            assert!(!at(it, "192.0.2.1", recipient, after), "{recipient}");
            assert!(at(it, "192.0.2.1", recipient, after + 300), "{recipient}");
        };
        for (recipient, after) in [("1", 0), ("2", 600), ("3", 3_600), ("4", 7_200), ("5", 10_800)] {
            pass(&mut it, recipient, after);
        }
        // Two of the five came within one hour; and what is known already proves nothing more.
        assert!(at(&mut it, "192.0.2.1", "1", 14_400));
        pass(&mut it, "6", 14_400);
        assert!(at(&mut it, "192.0.2.1", "7", 18_000));
        assert!(!at(&mut it, "192.0.2.2", "7", 18_000));
    }

    #[test]
    fn greylistd_wants_the_same_address_and_more_than_ten_minutes() {
        let mut it = Greylistd::new(Mask::Exact);
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 0));
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 600));
        assert!(!at(&mut it, "192.0.2.2", "b@y.example", 601));
        assert!(at(&mut it, "192.0.2.1", "b@y.example", 601));
        assert!(at(&mut it, "192.0.2.1", "b@y.example", 60 * DAY));
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 121 * DAY));

        let mut it = Greylistd::new(Mask::Network);
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 0));
        assert!(at(&mut it, "192.0.2.2", "b@y.example", 601));
        assert!(!at(&mut it, "2001:db8::1", "b@y.example", 0));
        assert!(!at(&mut it, "2001:db8::2", "b@y.example", 601));
    }

    #[test]
    fn greylistd_begins_anew_after_eight_hours_without_a_retry() {
        let mut it = Greylistd::new(Mask::Exact);
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 0));
        assert!(!at(&mut it, "192.0.2.1", "b@y.example", 8 * 3_600 + 1));
        assert!(at(&mut it, "192.0.2.1", "b@y.example", 16 * 3_600));
    }
}
