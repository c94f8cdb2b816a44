//! The rules of greylisting: the one table of what they are called, what they may be, what they are by
//! default and why. The types, the reader of the configuration file, the options of a call and what is shown
//! of them are made from it.

use crate::learned::Learn;
use crate::recipient::Delimiters;
use crate::sender::Level;
use crate::time::Seconds;
use crate::value::{Value, Written};
use crate::words;

words! {
    /// What greylisting does here.
    Mode {
        /// Defer and record.
        Enforce = "enforce",
        /// Record, say what would have happened, and pass.
        Observe = "observe",
        /// Pass and record nothing.
        Off = "off",
    }
}

macro_rules! rules {
    ($($(#[doc = $about:literal])+ $key:ident: $type:ty = $default:expr, $bounds:expr, $place:ident;)+) => {
        /// The rules that one decision goes by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Rules { $($(#[doc = $about])+ pub $key: $type,)+ }

        /// Rules that a named policy or the options of a call put in place of others.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct RuleChanges {
            $(#[doc = concat!("In place of [`Rules::", stringify!($key), "`].")] pub $key: Option<$type>,)+
        }

        impl Rules {
            /// Where nobody has said otherwise.
            pub const DEFAULT: Self = Self { $($key: $default,)+ };

            /// The keys, in the order of the manual.
            pub const KEYS: &[&str] = &[$(stringify!($key)),+];

            /// Each key with what it is, in the order of the manual.
            #[must_use]
            pub fn shown(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), self.$key.shown())),+]
            }

            /// The keys that a call may give as options.
            pub fn options() -> impl Iterator<Item = &'static str> {
                [$((stringify!($key), $place)),+].into_iter().filter_map(|(key, in_call)| in_call.then_some(key))
            }
        }

        impl RuleChanges {
            /// `base` with the changes.
            #[must_use]
            pub fn on(&self, base: Rules) -> Rules {
                Rules { $($key: self.$key.unwrap_or(base.$key),)+ }
            }

            /// Takes a rule of a file or a call; `None` if it has no rule of that name, an error that says
            /// what is expected.
            pub fn take(&mut self, key: &[u8], written: Written<'_>) -> Option<Result<(), String>> {
                $(if key == stringify!($key).as_bytes() && ($place || written.quoted.is_some()) {
                    return Some(written.read($bounds).map(|value| self.$key = Some(value)));
                })+
                None
            }
        }
    };
}

/// For the configuration file alone.
const FILE: bool = false;
/// Also an option of a call.
const CALL: bool = true;

rules! {
    /// What greylisting does.
    mode: Mode = Mode::Enforce, .., CALL;
    /// The minimum wait: just under the first retry of most queues; a spammer's second run that comes sooner
    /// is still caught. Mail servers give up after four or five days, some after one.
    delay: Seconds = Seconds::MINUTE.times(5), ..=Seconds::HOUR.times(12), CALL;
    /// How long after the first attempt a retry counts: also from a queue that was down over a night.
    window: Seconds = Seconds::DAY.times(2), .., CALL;
    /// How long a triplet or an identity stays known after it was last seen: a monthly message still is,
    /// after 31 days and five for holidays.
    lifetime: Seconds = Seconds::DAY.times(36), Seconds(1).., CALL;
    /// Passes, counted an hour apart, after which an identity needs no greylisting; 0: never. A spammer who
    /// queues shows itself before five; a mail server has them in a day.
    auto_after: u32 = 5, .., FILE;
    /// How much of a sender is normalised.
    sender_key: Level = Level::Full, .., CALL;
    /// A domain with SPF or DKIM that has passed for anybody here need not wait for others. A spammer with a
    /// domain of its own has waited once by then, and waits no second time for each recipient.
    trust_known_domains: bool = true, .., FILE;
    /// A message of ours to one address of a domain lets replies of the whole domain pass. The address that
    /// we wrote to is enough, and is harder to guess.
    replied_domain: bool = false, .., FILE;
    /// How long a trapped network waits: a spam run is over in a day. After three days a mail server that was
    /// trapped by mistake still delivers.
    trap_time: Seconds = Seconds::DAY, ..=Seconds::DAY.times(3), FILE;
    /// What is made of how often attempts like this one came back. First to be watched: what passes at once by
    /// it is up to what has been seen at this site.
    learn: Learn = Learn::Watch, .., CALL;
    /// Behind these signs a recipient has an extension: what holds for `codes@` of policies, the whitelist and
    /// permits to reply holds for `codes+bank@`, too. None: not every site reads addresses so.
    recipient_delimiter: Delimiters = Delimiters::NONE, .., FILE;
}

impl Default for Rules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Rules {
    /// The rule that no policy may have, because by it a policy is found.
    pub const AT_TOP: &str = "recipient_delimiter";

    /// Why mail could be lost by these rules, though each is within its bounds, if so.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Self { window, delay, .. } = self;
        (window <= delay).then(|| format!("window ({window}) must be longer than delay ({delay})"))
    }

    /// How old a last-seen time must be to be worth a write.
    #[must_use]
    pub const fn margin(&self) -> Seconds {
        Seconds(self.lifetime.0 / 16)
    }

    /// How long after its last-seen time a record holds: the time may be a margin too old, and nobody shall
    /// be forgotten before the lifetime is over.
    #[must_use]
    pub const fn keep(&self) -> Seconds {
        Seconds(self.lifetime.0.saturating_add(self.margin().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `key = text` as in a file, where `quoted` says so, or as an option of a call.
    fn take(key: &str, text: &str, quoted: Option<bool>) -> Option<Result<Rules, String>> {
        let mut changes = RuleChanges::default();
        let taken = changes.take(key.as_bytes(), Written { text: text.as_bytes(), quoted });
        taken.map(|result| result.map(|()| changes.on(Rules::DEFAULT)))
    }

    #[test]
    fn every_rule_reads_what_it_shows_and_changes_nothing_else() {
        for (key, shown) in Rules::DEFAULT.shown() {
            let (text, quoted) = (shown.trim_matches('"'), shown.starts_with('"'));
            assert_eq!(take(key, text, Some(quoted)), Some(Ok(Rules::DEFAULT)), "{key}");
            assert!(matches!(take(key, text, Some(!quoted)), Some(Err(_))), "{key}");
            let in_call = take(key, text, None);
            assert_eq!(in_call.is_some(), Rules::options().any(|option| option == key), "{key}");
        }
        assert_eq!(take("store", "/x", Some(true)), None);
    }

    #[test]
    fn a_time_by_which_mail_could_be_lost_is_out_of_bounds() {
        for (key, good, bad) in
            [("delay", "12h", "12h1s"), ("trap_time", "3d", "3d1s"), ("lifetime", "1s", "0s")]
        {
            assert!(matches!(take(key, good, Some(true)), Some(Ok(_))), "{key}");
            assert!(matches!(take(key, bad, Some(true)), Some(Err(_))), "{key}");
        }
        assert_eq!(Rules::DEFAULT.fault(), None);
        for (window, good) in [(300, false), (301, true)] {
            assert_eq!(Rules { window: Seconds(window), ..Rules::DEFAULT }.fault().is_none(), good);
        }
    }
}
