//! The pieces of a local part, and how much each looks like a number, a token or a word.
//!
//! A segment is a run of letters and digits, bytes above ASCII among them; all other signs separate. A UUID
//! and padded base64 are one segment, though they hold signs.

/// How sure it is that no person chose a segment. It adds up; [`CERTAIN`] is enough by itself.
pub(super) type Evidence = u32;

/// Enough to mask without another hint. The corpus set the scale: two numbers of six digits reach it; a name
/// with a year, a staff number or a date of birth does not.
pub(super) const CERTAIN: Evidence = 4;
/// Half of it: enough where another hint exists.
pub(super) const LIKELY: Evidence = 2;
/// Counts only with others.
pub(super) const SLIGHT: Evidence = 1;

/// Letters with more rare pairs than this, in percent, are no words.
pub(super) const RARE: u32 = 45;

/// One piece of a local part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Segment {
    /// Offset of its first byte.
    pub(super) start: usize,
    /// Offset behind its last byte.
    pub(super) end: usize,
    /// How many digits it has.
    pub(super) digits: u16,
    /// How many letters, those above ASCII included.
    pub(super) letters: u16,
    /// How many neighbouring letters are a pair that words rarely have.
    rare_pairs: u16,
    /// How many neighbouring letters there are.
    pairs: u16,
    /// How often a digit follows a letter or a letter a digit.
    changes: u16,
    /// Whether each letter is one of a to f.
    hex: bool,
    /// A UUID, padded base64, or a part of a time with a hash behind it.
    composite: bool,
    /// Its last byte is a digit.
    ends_in_digit: bool,
    /// The year of a written date: `2026-11-21`.
    dated: bool,
    /// `2026`.
    year: bool,
}

impl Segment {
    /// Whether it is one long run of hex or decimal digits.
    pub(super) fn is_long_hex(&self) -> bool {
        self.hex && self.has_digit() && self.len() >= 16
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn is_number(&self) -> bool {
        self.letters == 0
    }

    pub(super) fn has_digit(&self) -> bool {
        self.digits > 0
    }

    /// A name that ends in a number, if the rest of the address is not one long token: `i386`, `area51`.
    pub(super) fn is_numbered_name(&self) -> bool {
        self.ends_in_digit
            && self.changes == 1
            && self.digits <= 3
            && !(self.hex && self.len() >= 4)
            && !self.is_rare()
            && self.evidence() == 0
    }

    /// Whether it ends where its own shape says, so that what follows is no part of it.
    pub(super) fn is_composite(&self) -> bool {
        self.composite
    }

    /// Letters that do not look like words; below ten letters the sample is too small.
    pub(super) fn is_gibberish(&self) -> bool {
        self.letters >= 10 && self.is_rare()
    }

    /// A plain word, to be kept where a neighbour is masked.
    pub(super) fn is_word(&self) -> bool {
        !self.has_digit() && self.letters >= 4 && !self.is_rare() && !self.composite
    }

    /// Whether, where its neighbours are tokens, it is likely to be a piece of one without a digit.
    pub(super) fn is_odd(&self) -> bool {
        self.has_digit() || (self.letters >= 5 && self.is_rare())
    }

    /// Random letters have 70 rare pairs in 100, words 10, and names from all over the world up to 40.
    fn is_rare(&self) -> bool {
        are_rare(self.rare_pairs.into(), self.pairs.into(), RARE)
    }

    /// Nothing without a digit is ever evidence: two addresses of letters alone never merge here.
    pub(super) fn evidence(&self) -> Evidence {
        let &Self { digits, letters, changes, hex, composite, dated, year, .. } = self;
        let length = self.len();
        if composite {
            return CERTAIN;
        }
        if digits == 0 {
            return 0;
        }
        if letters == 0 {
            return match digits {
                // Years, rooms, shops, extensions.
                _ if dated => LIKELY,
                4 if year => 0,
                0..=3 => 0,
                4..=5 => SLIGHT,
                // Six digits are a counter, or the staff number of a person, or a day.
                6..=13 => LIKELY,
                // Longer than a telephone number with its country.
                _ => CERTAIN,
            };
        }
        // A name changes between letters and digits once (`alice1987`), seldom twice (`mino07petra`). Twelve
        // hex digits are likely, not certain: they may be the hardware address of a printer that sends mail.
        let prefixed = letters <= 4 && changes == 1;
        if (hex && length >= 16 && digits >= 2)
            || (length >= 16 && (changes >= 3 || self.is_gibberish()))
            || (length >= 12 && changes >= 4 && !(hex && length == 12))
            || (length >= 20 && digits >= 8)
        {
            CERTAIN
        } else if (hex && length >= 8 && digits >= 2)
            || (prefixed && digits >= 7)
            || (length >= 8 && changes >= 3)
            || (length >= 12 && self.is_gibberish())
        {
            LIKELY
        } else if (length >= 5 && changes >= 2) || (prefixed && digits >= 5) {
            SLIGHT
        } else {
            0
        }
    }
}

/// Whether the segments together have at least so many letters, and more than `share` percent rare pairs.
pub(super) fn are_gibberish(segments: &[Segment], letters: u32, share: u32) -> bool {
    let sum = |field: fn(&Segment) -> u16| segments.iter().map(|s| u32::from(field(s))).sum::<u32>();
    sum(|s| s.letters) >= letters && are_rare(sum(|s| s.rare_pairs), sum(|s| s.pairs), share)
}

fn are_rare(rare: u32, pairs: u32, share: u32) -> bool {
    rare * 100 > pairs * share
}

/// The bytes as one segment; none if a sign is among them.
pub(super) fn whole(bytes: &[u8]) -> Option<Segment> {
    bytes.iter().all(|&byte| is_inside(byte)).then(|| Segment { end: bytes.len(), ..measure(bytes) })
}

/// All segments of a local part in lower case, in order.
pub(super) fn split(local: &[u8]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(local.len() / 2 + 1);
    let mut at = 0;
    let mut base64_until = 0;
    while let Some(rest) = local.get(at..) {
        let Some(skipped) = rest.iter().position(|&byte| is_inside(byte)) else {
            break;
        };
        let (start, rest) = (at + skipped, rest.get(skipped..).unwrap_or_default());
        // Each run is measured once, however many segments it has: the pass stays linear.
        let mut composite = uuid(rest);
        if composite.is_none() && start >= base64_until && rest.len() > SHORTEST_BASE64 {
            let (run, padded) = base64(rest);
            base64_until = start + run;
            composite = padded;
        }
        let length =
            composite.unwrap_or_else(|| rest.iter().position(|&b| !is_inside(b)).unwrap_or(rest.len()));
        let mut segment = measure(rest.get(..length).unwrap_or_default());
        segment.composite = composite.is_some();
        segment.start = start;
        segment.end = start + length;
        segments.push(segment);
        at = segment.end;
    }
    mark_dates(&mut segments);
    mark_stamps(local, &mut segments);
    segments
}

fn is_inside(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii()
}

/// Counts; at most [`MAX_RULED`](super::MAX_RULED) bytes come here, so 16 bits hold each count.
fn measure(bytes: &[u8]) -> Segment {
    let mut segment = Segment { hex: true, ..Segment::default() };
    let mut previous = 0_u8;
    for &byte in bytes {
        let digit = byte.is_ascii_digit();
        segment.digits += u16::from(digit);
        segment.letters += u16::from(!digit);
        segment.changes += u16::from(previous != 0 && digit != previous.is_ascii_digit());
        segment.hex &= byte.is_ascii_hexdigit();
        if byte.is_ascii_lowercase() && previous.is_ascii_lowercase() {
            segment.pairs += 1;
            segment.rare_pairs += u16::from(!is_common(previous, byte));
        }
        previous = byte;
    }
    segment.ends_in_digit = previous.is_ascii_digit();
    segment.year = segment.letters == 0 && matches!(bytes, [b'1', b'9', _, _] | [b'2', b'0', _, _]);
    segment
}

/// The length of a UUID (RFC 9562) that `rest` begins with; its groups may be joined by `-`, `_` or `.`.
fn uuid(rest: &[u8]) -> Option<usize> {
    const LENGTH: usize = 36;
    let text = rest.get(..LENGTH)?;
    let &joint = text.get(8).filter(|joint| b"-_.".contains(joint))?;
    let fits = text.iter().enumerate().all(|(i, &byte)| match i {
        8 | 13 | 18 | 23 => byte == joint,
        _ => byte.is_ascii_hexdigit(),
    });
    let ends = rest.get(LENGTH).is_none_or(|&byte| !is_inside(byte));
    // Its version is a digit, so a UUID always has one; letters alone are no evidence.
    (fits && ends && text.iter().any(u8::is_ascii_digit)).then_some(LENGTH)
}

/// As long as base64 is, without its padding, before it is told from words.
const SHORTEST_BASE64: usize = 20;

/// The run of base64 at the start, and the whole length if it is long and ends in padding.
fn base64(rest: &[u8]) -> (usize, Option<usize>) {
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    let run = rest.iter().position(|byte| !in_alphabet(byte)).unwrap_or(rest.len());
    let padding = rest.iter().skip(run).take_while(|&&byte| byte == b'=').count();
    // Without what follows the padding, the `=` of `user=domain` would be one.
    let ends = rest.get(run + padding).is_none_or(|&byte| !is_inside(byte));
    let digit = || rest.iter().take(run).any(u8::is_ascii_digit);
    (run, (run >= SHORTEST_BASE64 && (1..=2).contains(&padding) && ends && digit()).then_some(run + padding))
}

/// `2026-11-21`, in any separators, is one date, though each part is short.
fn mark_dates(segments: &mut [Segment]) {
    for at in 0..segments.len() {
        if let Some([year, month, day]) = segments.get_mut(at..at + 3)
            && (year.digits, month.digits, day.digits) == (4, 2, 2)
            && year.letters + month.letters + day.letters == 0
        {
            year.dated = true;
        }
    }
}

/// `1747321536.5d2fb5`, the seconds since 1970 with a hash behind them, is one token.
fn mark_stamps(local: &[u8], segments: &mut [Segment]) {
    for at in 1..segments.len() {
        if let Some([time, hash]) = segments.get_mut(at - 1..=at)
            && (time.digits, time.letters) == (10, 0)
            && local.get(time.start) == Some(&b'1')
            && hash.hex
            && hash.len() >= 6
        {
            time.composite = true;
            hash.composite = true;
        }
    }
}

/// For each first letter, the letters that follow it in at least 0.11% of the pairs of English text and of
/// a list of European and Asian names.
const COMMON: [&[u8]; 26] = [
    b"bcdgiklmnprstuvy",
    b"aeilosu",
    b"acehiklortu",
    b"aeiosu",
    b"acdefglmnprstvwxz",
    b"aefio",
    b"aeinru",
    b"aeio",
    b"abcdefglmnoprstvz",
    b"",
    b"eio",
    b"adeilostuy",
    b"abeimop",
    b"acdefginostuv",
    b"cdglmnoprstuvw",
    b"aeiloprtu",
    b"u",
    b"acdeilmnorstuy",
    b"acehiklopstu",
    b"aehilorstuy",
    b"abceilmnprst",
    b"aei",
    b"aeis",
    b"",
    b"",
    b"e",
];

/// [`COMMON`] as one bit a pair.
const COMMON_BITS: [u32; 26] = {
    let mut bits = [0; 26];
    let (mut row, mut at) = (0, 0);
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse it")]
    while row < bits.len() {
        if at < COMMON[row].len() {
            bits[row] |= 1 << (COMMON[row][at] - b'a');
            at += 1;
        } else {
            (row, at) = (row + 1, 0);
        }
    }
    bits
};

/// Whether words have the pair; both are lower case.
fn is_common(first: u8, second: u8) -> bool {
    let row = COMMON_BITS.get(usize::from(first - b'a')).copied().unwrap_or_default();
    row >> (second - b'a') & 1 == 1
}
