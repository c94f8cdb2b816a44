//! Whoever behaves well for a while in order to be let through later.

use super::assumptions::{ADVERSARY_SEED, FILTER_FINDS, LISTED};
use super::{Chance, Message, START, Site, Traffic, address, letters, run};
use eximgrey::reply::{Action, Reason};
use eximgrey::time::Seconds;

/// So many mails come back as they should.
pub const GOOD: usize = 500;

/// So many come afterwards, in an hour.
pub const BAD: usize = 50_000;

/// What he looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// As nobody else does.
    Alone,
    /// As most honest servers do, of which the site has seen 10,000 messages with all the others.
    Honest,
}

/// How many of the first `bad` of his later mails passed at their first attempt. Each mail comes from a network and a domain of its own: what
/// a network or a domain earns is another matter.
pub fn passed(looks: Looks, feedback: bool, bad: usize) -> usize {
    let mut site = Site::new("on", feedback);
    if looks == Looks::Honest {
        run(&mut site, &mut Traffic::new(LISTED), &[10_000]);
    }
    let mut chance = Chance(ADVERSARY_SEED);
    let mut mail = |nth: usize| {
        let domain = format!("x{}.example", letters(nth));
        let options = match looks {
            Looks::Alone => vec!["sign=plain,helo".to_owned()],
            Looks::Honest => vec![format!("spf={domain}"), format!("host=mx.{domain}")],
        };
        let mail = [address(8_000_000 + nth), format!("a@{domain}"), "b@here.example".into()];
        let is_found = chance.below(100) < FILTER_FINDS;
        let arguments = mail.into_iter().chain(options).collect();
        Message { is_spam: true, arguments, retries: Vec::new(), is_found }
    };
    // After all of the others' traffic.
    let start = START.plus(Seconds::DAY.times(60));
    for nth in 0..GOOD {
        let now = start.plus(Seconds(nth as u32 * 60));
        let good = Message { is_found: false, ..mail(nth) };
        if site.ask(&good, now).reason == Reason::New {
            let back = site.ask(&good, now.plus(Seconds(3_000)));
            assert_eq!(back.action, Action::Pass, "{back}");
        }
    }
    let start = start.plus(Seconds::DAY.times(2));
    let at = |nth: usize| start.plus(Seconds((nth * 3_600 / BAD) as u32));
    (0..bad).filter(|nth| site.ask(&mail(GOOD + nth), at(*nth)).action == Action::Pass).count()
}
