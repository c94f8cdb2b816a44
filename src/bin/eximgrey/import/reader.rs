//! The lines of a file that somebody else wrote: bytes, and none longer than memory is meant for.

use crate::command::{Failure, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest line that can be one of a peer's: a triplet of addresses of any length that SMTP allows is a
/// tenth of it.
const LONGEST: u64 = 16_384;

/// A file to read, or the standard input.
pub struct Source {
    /// As it was named, for messages.
    pub name: String,
    input: Box<dyn BufRead>,
    number: u64,
}

/// A line, without its end.
pub struct Line {
    /// From 1.
    pub number: u64,
    pub bytes: Vec<u8>,
    /// It was longer than is read.
    pub too_long: bool,
}

impl Source {
    /// Opens `path`; `-` is the standard input.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        if name == "-" {
            return Ok(Self::of("standard input".into(), io::stdin().lock()));
        }
        let file = File::open(path).map_err(|e| Failure::Usage(format!("{name}: {e}")))?;
        Ok(Self::of(name, BufReader::new(file)))
    }

    pub fn of(name: String, input: impl BufRead + 'static) -> Self {
        Self { name, input: Box::new(input), number: 0 }
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Line>> {
        let fail = |e| Failure::Usage(format!("{}: {e}", self.name));
        let mut bytes = Vec::new();
        if (&mut self.input).take(LONGEST).read_until(b'\n', &mut bytes).map_err(fail)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let too_long = !bytes.ends_with(b"\n") && bytes.len() as u64 == LONGEST;
        if too_long {
            self.input.skip_until(b'\n').map_err(fail)?;
        }
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let text = text.strip_suffix(b"\r").unwrap_or(text).to_vec();
        Ok(Some(Line { number: self.number, bytes: text, too_long }))
    }
}
