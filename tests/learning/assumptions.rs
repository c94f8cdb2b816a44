//! All that is assumed of the traffic, and the only seeds. None of it was measured but the retries: what a site
//! gains is said by `learn = "watch"` there.

use super::schedule::{Schedule, measured};
use eximgrey::time::Seconds;

/// Of the traffic.
pub const SEED: u64 = 18;

/// Of the adversary's traffic.
pub const ADVERSARY_SEED: u64 = 500;

/// How many messages are new in a day, spread evenly: 50 days for 100,000.
pub const MESSAGES_A_DAY: u32 = 2_000;

/// Of 100 honest messages so many come from a domain that has not written here before; the others from one of those
/// that have, each as likely.
pub const FROM_NEW_DOMAINS: usize = 60;

/// Of 100 spams that got through the content filter finds so many, and tells.
pub const FILTER_FINDS: usize = 80;

/// The words of the configuration.
pub const SIGNS: [&str; 3] = ["dnsbl", "helo", "plain"];

/// A kind of client.
pub struct Kind {
    pub name: &'static str,
    pub is_spam: bool,
    /// How many of 1,000 messages are of this kind.
    pub share: usize,
    /// Of 1,000 of them, how many pass SPF for their sender's domain.
    pub spf: usize,
    /// Have a host name that names the sender's domain, another domain, or one generated from their address; the
    /// others have none.
    pub host: [usize; 3],
    /// Stand on a DNS list; have a HELO that is not theirs; come without TLS.
    pub signs: [usize; 3],
    pub retries: Retries,
}

/// How a kind comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// As the mail servers of providers and as Exim do, but for so many of 1,000 that never do.
    Queue(usize),
    /// Once, after a minute to half an hour.
    Once,
    /// Never.
    Never,
}

/// How many of 1,000 spammers with a mail server stand on a DNS list, where nothing else is said.
pub const LISTED: usize = 950;

/// Seven of ten first attempts are spam. `listed`: how many of 1,000 spammers with a mail server stand on a DNS list.
pub fn kinds(listed: usize) -> Vec<Kind> {
    vec![
        Kind {
            name: "mail servers with SPF",
            is_spam: false,
            share: 210,
            spf: 1_000,
            host: [700, 280, 0],
            signs: [2, 10, 20],
            retries: Retries::Queue(2),
        },
        Kind {
            name: "mail servers without SPF",
            is_spam: false,
            share: 60,
            spf: 0,
            host: [500, 400, 60],
            signs: [10, 60, 150],
            retries: Retries::Queue(5),
        },
        Kind {
            name: "programs that send by themselves",
            is_spam: false,
            share: 30,
            spf: 300,
            host: [200, 300, 300],
            signs: [30, 300, 400],
            retries: Retries::Queue(100),
        },
        Kind {
            name: "bots",
            is_spam: true,
            share: 620,
            spf: 10,
            host: [2, 48, 600],
            signs: [700, 700, 800],
            retries: Retries::Never,
        },
        Kind {
            name: "bots that try twice",
            is_spam: true,
            share: 60,
            spf: 10,
            host: [2, 48, 600],
            signs: [700, 500, 800],
            retries: Retries::Once,
        },
        Kind {
            name: "spammers with a mail server",
            is_spam: true,
            share: 20,
            spf: 800,
            host: [700, 200, 0],
            signs: [listed, 50, 100],
            retries: Retries::Queue(0),
        },
    ]
}

/// The queues of honest servers, each as likely: those that were measured, one that is quick, and Exim's.
pub fn queues() -> Vec<Schedule> {
    let measured = measured().into_iter().map(|provider| provider.schedule);
    measured.chain([Schedule::quick(), Schedule::exim()]).collect()
}

/// When a bot that tries twice does so.
pub const SECOND_TRY: [Seconds; 4] = [Seconds(60), Seconds(240), Seconds(600), Seconds(1_800)];
