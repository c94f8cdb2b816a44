//! What stands in front of a line's text: the prefixes of syslog, and Exim's own time.

use eximgrey::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Reads times. A time without its zone is the local one, which an hour in autumn has twice: then that which follows on
/// the line before.
pub struct Clock {
    zone: TimeZone,
    /// RFC 3164 has no year.
    now: Timestamp,
    /// Lines of the same ten minutes begin alike.
    cached: Option<([u8; TEN_MINUTES], Zone, i64)>,
    last: i64,
}

/// `2026-11-27 12:3`
const TEN_MINUTES: usize = 15;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    Local,
    /// Seconds east of Greenwich.
    Offset(i32),
}

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

impl Clock {
    /// `utc`: times without their zone are UTC.
    pub fn new(utc: bool, now: Timestamp) -> Self {
        let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
        Self { zone, now, cached: None, last: 0 }
    }

    /// Lines are read from the first one again.
    pub const fn start_over(&mut self) {
        self.last = 0;
    }

    /// The time of a line, and what follows. `None` for a line without a time, or one of another program.
    pub fn read<'l>(&mut self, line: &'l [u8]) -> Option<(Timestamp, &'l [u8])> {
        if line.first().is_some_and(u8::is_ascii_digit) && line.get(10) == Some(&b' ') {
            return self.own(line);
        }
        let (time, rest) = self.syslog(line)?;
        // Exim's time, if syslog has not been told to do without, is the more exact one.
        Some(self.own(rest).unwrap_or((time, rest)))
    }

    /// Text of Exim that came with its time, as the journal has it.
    pub fn text<'l>(&mut self, time: Timestamp, text: &'l [u8]) -> (Timestamp, &'l [u8]) {
        self.own(text).unwrap_or((time, text))
    }

    /// `2026-11-27 12:33:12.123 +0100 `, of which the fraction and the zone may be missing.
    fn own<'l>(&mut self, line: &'l [u8]) -> Option<(Timestamp, &'l [u8])> {
        let (head, rest) = line.split_at_checked(19)?;
        if head.get(10) != Some(&b' ') {
            return None;
        }
        let rest = after_fraction(rest).strip_prefix(b" ")?;
        let (zone, rest) =
            match rest.split_at_checked(6).and_then(|(zone, after)| Some((offset(zone)?, after))) {
                Some((zone, after)) => (zone, after),
                None => (Zone::Local, rest),
            };
        Some((self.time(head, zone)?, rest))
    }

    /// The prefixes of RFC 3164, of RFC 5424, and what rsyslog writes by default: either's time, the host, the program.
    fn syslog<'l>(&mut self, line: &'l [u8]) -> Option<(Timestamp, &'l [u8])> {
        let mut rest = line;
        if let Some(inside) = rest.strip_prefix(b"<") {
            let end = inside.iter().take(4).position(|&byte| byte == b'>')?;
            rest = inside.get(end + 1..)?;
        }
        let numbered = rest.strip_prefix(b"1 ");
        let rest = numbered.unwrap_or(rest);
        let (time, rest) = match rest.get(10) {
            Some(b'T') => self.iso(rest)?,
            _ => self.without_year(rest)?,
        };
        let (_host, rest) = split(rest)?;
        let (program, rest) = split(rest)?;
        if !program.to_ascii_lowercase().windows(4).any(|part| part == b"exim") {
            return None;
        }
        if numbered.is_none() {
            return Some((time, rest));
        }
        let (_process, rest) = split(rest)?;
        let (_kind, rest) = split(rest)?;
        // Structured data, which Exim has none of: a syslog daemon may have added some.
        let rest = match rest.first() {
            Some(b'[') => rest.windows(2).position(|end| end == b"] ").and_then(|at| rest.get(at + 2..))?,
            _ => split(rest)?.1,
        };
        Some((time, rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest)))
    }

    /// `2026-11-27T12:33:12.123456+01:00 `
    fn iso<'l>(&mut self, line: &'l [u8]) -> Option<(Timestamp, &'l [u8])> {
        let (head, rest) = line.split_at_checked(19)?;
        let (zone, rest) = split(after_fraction(rest))?;
        let zone = match zone {
            b"Z" => Zone::Offset(0),
            // journalctl's short-iso lacks the colon.
            [sign, h, hh, b':', m, mm] | [sign, h, hh, m, mm] => offset(&[*sign, *h, *hh, *m, *mm, b' '])?,
            _ => return None,
        };
        Some((self.time(head, zone)?, rest))
    }

    /// `Nov 27 12:33:12 `
    fn without_year<'l>(&mut self, line: &'l [u8]) -> Option<(Timestamp, &'l [u8])> {
        let (head, rest) = line.split_at_checked(15)?;
        let rest = rest.strip_prefix(b" ")?;
        let (month, day) = (head.get(..3)?, head.get(4..6)?);
        let month = MONTHS.iter().position(|name| *name == month)? + 1;
        let day: u8 = str::from_utf8(day.trim_ascii()).ok()?.parse().ok()?;
        let clock = str::from_utf8(head.get(7..)?).ok()?;
        let this_year: u32 = self.now.to_string().get(..4)?.parse().ok()?;
        let latest = self.now.0.saturating_add(86_400);
        // What would lie ahead is of last year.
        let time = [this_year, this_year.saturating_sub(1)].into_iter().find_map(|year| {
            let text = format!("{year:04}-{month:02}-{day:02} {clock}");
            self.time(text.as_bytes(), Zone::Local).filter(|time| time.0 <= latest)
        });
        Some((time?, rest))
    }

    /// The time that `2026-11-27 12:33:12` is in a zone.
    fn time(&mut self, head: &[u8], zone: Zone) -> Option<Timestamp> {
        let (ten_minutes, rest) = head.split_at_checked(TEN_MINUTES)?;
        let ten_minutes: [u8; TEN_MINUTES] = ten_minutes.try_into().ok()?;
        let within = match rest {
            [minute, b':', tens, ones] => {
                let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
                digit(minute)? * 60 + digit(tens)? * 10 + digit(ones)?
            }
            _ => return None,
        };
        let known = self.cached.filter(|(key, of, _)| *key == ten_minutes && *of == zone);
        let begin = match known {
            Some((.., begin)) => begin,
            None => {
                let (begin, twice) = self.begin(&ten_minutes, zone)?;
                // What comes twice depends on the line before.
                self.cached = (!twice).then_some((ten_minutes, zone, begin));
                begin
            }
        };
        self.last = begin + within;
        u32::try_from(self.last).ok().map(Timestamp)
    }

    /// When these ten minutes began, and whether there were two of that name.
    fn begin(&self, ten_minutes: &[u8; TEN_MINUTES], zone: Zone) -> Option<(i64, bool)> {
        let number = |range: std::ops::Range<usize>| -> Option<i16> {
            let digits = ten_minutes.get(range)?;
            digits.iter().all(u8::is_ascii_digit).then_some(())?;
            str::from_utf8(digits).ok()?.parse().ok()
        };
        let small = |range| number(range).and_then(|number| i8::try_from(number).ok());
        let (month, day, hour) = (small(5..7)?, small(8..10)?, small(11..13)?);
        let civil = DateTime::new(number(0..4)?, month, day, hour, small(14..15)? * 10, 0, 0).ok()?;
        let at = |offset: Offset| offset.to_timestamp(civil).ok().map(|time| time.as_second());
        if let Zone::Offset(east) = zone {
            return Some((at(Offset::from_seconds(east).ok()?)?, false));
        }
        Some(match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => (at(offset)?, false),
            AmbiguousOffset::Gap { before, .. } => (at(before)?, false),
            AmbiguousOffset::Fold { before, after } => {
                // A line may be a little older than the one before it.
                let first = at(before)?;
                (if first + 1_800 < self.last { at(after)? } else { first }, true)
            }
        })
    }
}

fn after_fraction(text: &[u8]) -> &[u8] {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.strip_prefix(b".").and_then(|fraction| fraction.get(digits(fraction)..)).unwrap_or(text)
}

/// `+0100 `
fn offset(text: &[u8]) -> Option<Zone> {
    let [sign @ (b'+' | b'-'), h, hh, m, mm, b' '] = text else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    let east = (digit(h)? * 10 + digit(hh)?) * 3_600 + (digit(m)? * 10 + digit(mm)?) * 60;
    Some(Zone::Offset(if *sign == b'-' { -east } else { east }))
}

/// A word, and what follows the blank behind it.
fn split(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == b' ')?;
    let (word, rest) = text.split_at_checked(at)?;
    Some((word, rest.trim_ascii_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_800_000); // 2026-11-27

    fn read(zone: &str, lines: &[&str]) -> Vec<Option<(String, String)>> {
        let zone = TimeZone::posix(zone).unwrap();
        let mut clock = Clock { zone, ..Clock::new(true, NOW) };
        let text = |rest: &[u8]| String::from_utf8(rest.to_vec()).unwrap();
        let read =
            |line: &&str| clock.read(line.as_bytes()).map(|(time, rest)| (time.to_string(), text(rest)));
        lines.iter().map(read).collect()
    }

    #[test]
    fn the_time_of_a_line_is_read_with_its_zone_and_whatever_wrote_it() {
        for (line, time) in [
            ("2026-11-27 12:33:12 x y", "11:33:12"),
            ("2026-11-27 12:33:12.123 x y", "11:33:12"),
            ("2026-11-27 12:33:12 +0000 x y", "12:33:12"),
            ("2026-11-27 12:33:12.999999 -0530 x y", "18:03:12"),
            ("Nov 27 12:33:12 mx exim[77]: x y", "11:33:12"),
            ("<22>Nov 27 12:33:12 mx exim4[77]: 2026-11-27 12:33:11 x y", "11:33:11"),
            ("2026-11-27T12:33:12.123456+02:00 mx exim[77]: x y", "10:33:12"),
            ("<22>1 2026-11-27T12:33:12.1Z mx exim 77 - - \u{feff}x y", "12:33:12"),
            ("<22>1 2026-11-27T12:33:12Z mx exim 77 - [a b=\"c d\"] x y", "12:33:12"),
        ] {
            let expected = Some((format!("2026-11-27T{time}Z"), "x y".to_owned()));
            assert_eq!(read("CET-1", &[line]), [expected], "{line}");
        }
        let year = |line| read("UTC0", &[line])[0].clone().unwrap().0;
        assert_eq!(year("Dec 31 23:59:59 mx exim[1]: x"), "2025-12-31T23:59:59Z");
        for no in [
            "",
            "x y",
            "2026-13-27 12:33:12 x",
            "2026-11-27 12:33:1x x",
            "2026-11-27 12:33:12",
            "Nov 27 12:33:12 mx sshd[77]: x y",
            "Nov 31 12:33:12 mx exim[77]: x y",
            "2026-11-27T12:33:12 mx exim[77]: x y",
        ] {
            assert_eq!(read("CET-1", &[no]), [None], "{no}");
        }
    }

    #[test]
    fn an_hour_that_the_clock_has_twice_goes_on_where_the_line_before_was() {
        let zone = "CET-1CEST,M3.5.0,M10.5.0/3";
        let lines = ["02:58:00", "02:59:59", "02:00:01", "02:01:00", "03:00:00"];
        let lines = lines.map(|time| format!("2026-10-25 {time} x"));
        let times = read(zone, &lines.each_ref().map(String::as_str));
        let times: Vec<_> = times.iter().map(|time| time.as_ref().unwrap().0[11..19].to_owned()).collect();
        assert_eq!(times, ["00:58:00", "00:59:59", "01:00:01", "01:01:00", "02:00:00"]);
    }
}
