//! Moments and spans, in whole seconds. Only [`Timestamp::now`] reads a clock, and decisions never call it:
//! they take the time as an argument.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 (UTC). 32 bits last until 2106 and keep records small; arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u32);

/// A span of time in seconds; arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u32);

impl Timestamp {
    /// The time by the machine's clock. Before 1970 it is 0, after 2106 the last second.
    #[must_use]
    pub fn now() -> Self {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Whether the clock stands outside of what is counted here: no time passes any more.
    #[must_use]
    pub const fn is_off_scale(self) -> bool {
        matches!(self.0, 0 | u32::MAX)
    }

    /// The moment `span` later.
    #[must_use]
    pub const fn plus(self, span: Seconds) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0))
    }
}

const UNITS: [(u8, u32); 5] = [(b'w', 604_800), (b'd', 86_400), (b'h', 3_600), (b'm', 60), (b's', 1)];

impl Seconds {
    /// A minute.
    pub const MINUTE: Self = Self(60);
    /// An hour.
    pub const HOUR: Self = Self(3_600);
    /// A day.
    pub const DAY: Self = Self(86_400);

    /// `n` times this span.
    #[must_use]
    pub const fn times(self, n: u32) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// A span as Exim writes it: `5m`, `2d12h`, `90` or `90s` (Exim specification, "Time intervals").
    /// `None` for anything else, and for more than 136 years.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut total: u32 = 0;
        let mut number: Option<u32> = None;
        for &byte in text {
            if byte.is_ascii_digit() {
                number = Some(number.unwrap_or(0).checked_mul(10)?.checked_add(u32::from(byte - b'0'))?);
            } else {
                let (_, unit) = UNITS.iter().find(|(letter, _)| *letter == byte)?;
                total = total.checked_add(number.take()?.checked_mul(*unit)?)?;
            }
        }
        if text.is_empty() {
            return None;
        }
        // A last number without a unit is seconds.
        total.checked_add(number.unwrap_or(0)).map(Self)
    }
}

impl fmt::Display for Seconds {
    /// The shortest form that [`Seconds::parse`] reads: `1d12h`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        // Without weeks: 36d is clearer than 5w1d.
        for (letter, unit) in UNITS.into_iter().skip(1) {
            if rest >= unit || (unit == 1 && self.0 == 0) {
                write!(f, "{}{}", rest / unit, char::from(letter))?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Timestamp {
    /// `2026-11-21T17:08:36Z` (RFC 3339, UTC).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // Years are counted from 1 March of year 0, so that a leap day is the last of its year.
        let days = days + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = era * 400 + year_of_era + u32::from(month <= 2);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_exim_writes_them() {
        for (text, seconds) in [
            ("5m", 300),
            ("2d12h", 216_000),
            ("90", 90),
            ("1h30", 3_630),
            ("1w", 604_800),
            ("0s", 0),
            ("0", 0),
        ] {
            assert_eq!(Seconds::parse(text.as_bytes()), Some(Seconds(seconds)), "{text}");
        }
        for text in ["", "m", "5 m", "5x", "-5m", "5mm", "99999999999", "7102w", "5m ", "½h"] {
            assert_eq!(Seconds::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn spans_print_as_they_are_read() {
        for seconds in [0, 1, 60, 3_661, 86_400, 216_000, 3_110_400, u32::MAX] {
            let text = Seconds(seconds).to_string();
            assert_eq!(Seconds::parse(text.as_bytes()), Some(Seconds(seconds)), "{text}");
        }
        assert_eq!(Seconds(216_000).to_string(), "2d12h");
    }

    #[test]
    fn timestamps_print_as_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }

    #[test]
    fn times_saturate() {
        assert_eq!(Timestamp(u32::MAX).plus(Seconds::DAY), Timestamp(u32::MAX));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Seconds(0));
        assert_eq!(Seconds(u32::MAX).times(3), Seconds(u32::MAX));
    }
}
