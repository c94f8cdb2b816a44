//! When senders retry: seconds after the first attempt.
//!
//! The measured ones are those of Pagani, De Astis, Graziano, Lanzi, Balzarotti, "Measuring the Role of Greylisting
//! and Nolisting in Fighting Spam" (DSN 2016), taken at a greylisting threshold of six hours: `facts/peers.md` section 4
//! has their beginning, the authors' slides (page 22) the whole table. Those that were delivered then would have gone on:
//! here they do so at their last interval for [`LIFE`]. aol.com and qq.com gave up where their list ends.

use eximgrey::time::Seconds;

/// How long a mail server keeps a message in its queue: five days (RFC 5321 section 4.5.4.1: at least four to five).
pub const LIFE: Seconds = Seconds::DAY.times(5);

/// The retries of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    retries: Vec<Seconds>,
}

impl Schedule {
    /// When attempt `nth` failed: the time of the next one after the first; `None` if that was the last.
    pub fn retry(&self, nth: usize) -> Option<Seconds> {
        self.retries.get(nth).copied()
    }

    /// The first retry that a greylister with this delay and window can let pass.
    pub fn first_retry_within(&self, delay: Seconds, window: Seconds) -> Option<Seconds> {
        self.retries.iter().copied().find(|retry| (delay..=window).contains(retry))
    }

    /// These retries and no more.
    fn only(retries: impl IntoIterator<Item = u32>) -> Self {
        let retries: Vec<Seconds> = retries.into_iter().map(Seconds).collect();
        assert!(retries.windows(2).all(|pair| pair[0] < pair[1]), "retries in the order of time");
        Self { retries }
    }

    /// These retries, then one each `every` seconds for [`LIFE`].
    fn then(retries: &[u32], every: u32) -> Self {
        let last = *retries.last().expect("a first retry");
        let more = (1..).map(|n| last + n * every).take_while(|retry| *retry <= LIFE.0);
        Self::only(retries.iter().copied().chain(more))
    }

    /// A generic mail server: quick retries first, then every four hours.
    pub fn quick() -> Self {
        Self::then(&[5, 10, 15, 30, 60, 120, 240].map(|minute| minute * 60), 4 * 3_600)
    }

    /// Exim's own (its default configuration): each 15 minutes for two hours, then intervals that grow by half from one
    /// hour on until 16 hours have gone, then each six hours, for four days.
    pub fn exim() -> Self {
        let quarters = (1..=8).map(|n| n * 900);
        let growing = [3_600, 5_400, 8_100, 12_150, 18_225].iter().scan(7_200, |at, gap| {
            *at += gap;
            Some(*at)
        });
        let last = 7_200 + 47_475;
        let slow = (1..).map(|n| last + n * 6 * 3_600).take_while(|retry| *retry <= 4 * 86_400);
        Self::only(quarters.chain(growing).chain(slow))
    }

    /// Two retries within six seconds and no more. No such sender was measured: what gives up soonest, as a limit.
    pub fn two_tries() -> Self {
        Self::only([minutes("5:05"), minutes("5:11")])
    }
}

/// A provider that was measured.
pub struct Provider {
    pub name: &'static str,
    /// How many addresses its attempts came from.
    pub addresses: usize,
    pub schedule: Schedule,
}

/// The providers that were measured.
pub fn measured() -> Vec<Provider> {
    let list = |times: &str| -> Vec<u32> { times.split(' ').map(minutes).collect() };
    let on = |times: &str| {
        let times = list(times);
        Schedule::then(&times, times[times.len() - 1] - times[times.len() - 2])
    };
    let provider = |name, addresses, schedule| Provider { name, addresses, schedule };
    vec![
        provider("gmail.com", 7, on("6:02 29:02 56:36 98:44 162:03 229:44 309:05 434:46")),
        provider("yahoo.co.uk", 1, on("2:07 5:39 12:58 27:16 55:13 109:35 216:47 430:36")),
        // "every 4 minutes" from 16:10 on; 94 tries in all make it 4:01.
        provider("hotmail.com", 1, on("1:01 2:03 3:04 5:06 8:07 12:08 16:10 20:11")),
        provider(
            "qq.com",
            2,
            Schedule::only(list("5:05 5:11 5:17 6:19 8:22 12:25 20:29 52:31 84:35 144:42 204:56")),
        ),
        provider(
            "mail.ru",
            7,
            on("1:18 19:15 49:14 79:49 113:20 154:18 187:53 235:20 271:03 305:50 340:38 373:45"),
        ),
        // "every 15:30 minutes" from 61:01 on; 28 tries in all make it 15:25.
        provider("yandex.com", 1, on("1:05 2:58 6:53 14:55 30:28 45:41 61:01 76:26")),
        provider("mail.com", 2, on("5:02 12:37 23:59 41:03 66:38 105:01 162:35 248:56 378:28")),
        provider("gmx.com", 3, on("5:01 12:33 23:50 40:46 66:09 104:14 161:22 247:04 375:36")),
        provider("aol.com", 1, Schedule::only(list("5:32 11:32 21:32 31:32"))),
        provider("india.com", 1, on("6:21 16:21 36:21 76:21 146:22 216:21 286:21 356:21 426:21")),
    ]
}

/// `6:02` in seconds.
fn minutes(text: &str) -> u32 {
    let (minutes, seconds) = text.split_once(':').expect("minutes:seconds");
    minutes.parse::<u32>().expect("minutes") * 60 + seconds.parse::<u32>().expect("seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_those_of_the_measurements() {
        let all = measured();
        let gmail = &all[0].schedule.retries;
        assert_eq!(gmail[..2], [Seconds(362), Seconds(1_742)]);
        // 434:46 + 125:41.
        assert_eq!(gmail[8], Seconds(26_086 + 7_541));
        // The first try is counted with the others.
        let within = |name: &str, end: &str| {
            let provider = all.iter().find(|p| p.name == name).unwrap();
            1 + provider.schedule.retries.iter().filter(|r| r.0 <= minutes(end)).count()
        };
        assert_eq!(within("hotmail.com", "362:11"), 94);
        assert_eq!(within("yandex.com", "369:21"), 28);
        assert_eq!((within("qq.com", "999:00"), within("aol.com", "999:00")), (12, 5));
    }

    #[test]
    fn first_retry_within_skips_what_is_too_soon() {
        let first = |name: &str| {
            let all = measured();
            let provider = all.iter().find(|p| p.name == name).unwrap();
            provider.schedule.first_retry_within(Seconds(300), Seconds(172_800))
        };
        assert_eq!(first("yahoo.co.uk"), Some(Seconds(339)));
        assert_eq!(first("mail.ru"), Some(Seconds(1_155)));
        assert_eq!(Schedule::two_tries().first_retry_within(Seconds(600), Seconds(172_800)), None);
    }

    #[test]
    fn exims_schedule_is_that_of_its_default_rule() {
        let retries = Schedule::exim().retries;
        assert_eq!(retries[7], Seconds(7_200));
        assert_eq!(retries[8], Seconds(10_800));
        assert_eq!(retries.last(), Some(&Seconds(54_675 + 13 * 21_600)));
        assert_eq!(Schedule::quick().retries.last(), Some(&Seconds(432_000)));
    }
}
