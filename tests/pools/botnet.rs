//! A botnet that repeats itself, each time from another network: what gets through, and with which greylister.

use super::{Attempt, greylisters};
use eximgrey::time::{Seconds, Timestamp};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Some mails, each with a sender and recipient of its own, that are tried again and again.
pub struct Campaign {
    pub title: &'static str,
    pub mails: usize,
    pub tries: usize,
    /// Between two tries of a mail.
    pub every: Seconds,
}

const fn campaign(title: &'static str, mails: usize, tries: usize, every: u32) -> Campaign {
    Campaign { title, mails, tries, every: Seconds(every) }
}

pub const CAMPAIGNS: [Campaign; 6] = [
    campaign("one mail every 10 seconds, for a day", 1, 8_640, 10),
    campaign("one mail every minute, for a day", 1, 1_440, 60),
    campaign("one mail every 10 minutes, for a day", 1, 144, 600),
    campaign("one mail every hour, for a day", 1, 24, 3_600),
    campaign("100 mails, 5 times each in 20 minutes", 100, 5, 300),
    campaign("100 mails, 5 times each in an hour", 100, 5, 900),
];

/// Those of the table that a botnet meets: it has neither SPF nor names under one domain.
pub const GREYLISTERS: [&str; 3] = ["eximgrey, neither", "postgrey", "greylistd, /24"];

/// How many tries of a campaign pass.
pub fn passed(campaign: &Campaign, greylister: &str) -> usize {
    let mut all = greylisters();
    let greylister = all.iter_mut().find(|one| one.name() == greylister).expect("a greylister of the table");
    let mut passed = 0;
    for nth in 0..campaign.tries {
        let now = Timestamp(1_767_225_600).plus(Seconds(campaign.every.0 * nth as u32));
        for mail in 0..campaign.mails {
            let [_, _, high, low] = ((nth * campaign.mails + mail) as u32).to_be_bytes();
            let client = IpAddr::V4(Ipv4Addr::new(10, high, low, 1));
            // In letters: numbers would be masked.
            let letters = [mail / 26, mail % 26].map(|letter| char::from(b'a' + letter as u8));
            let sender = format!("bot{}{}@bot.example", letters[0], letters[1]);
            let attempt =
                Attempt { client, sender: &sender, recipient: "ines@here.example", spf: None, host: "" };
            passed += usize::from(greylister.passes(&attempt, now));
        }
    }
    passed
}

pub fn table() -> String {
    let mut text = format!("{:42} tries", "a botnet that repeats itself");
    GREYLISTERS.iter().for_each(|name| text.push_str(&format!("  {name}")));
    for campaign in &CAMPAIGNS {
        let tries = campaign.mails * campaign.tries;
        let _ = write!(text, "\n  {:38} {tries:>7}", campaign.title);
        for name in GREYLISTERS {
            let _ = write!(text, "  {:>1$}", passed(campaign, name), name.len());
        }
    }
    text.push('\n');
    text
}
