//! The lines of a file that somebody else wrote: bytes, and none longer than memory is meant for.

use crate::command::{Failure, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The longest line that can be one of a peer's: a triplet of addresses of any length that SMTP allows is a
/// tenth of it.
const LONGEST: u64 = 16_384;

/// A file to read, or the standard input.
pub struct Source {
    /// As it was named, for messages.
    pub name: String,
    input: Box<dyn BufRead>,
    number: u64,
    /// What prints the file.
    dump: Option<Child>,
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
        let fail = |e| Failure::Usage(format!("{name}: {e}"));
        let mut input = BufReader::new(File::open(path).map_err(fail)?);
        if is_berkeley_db(input.fill_buf().map_err(fail)?) {
            return dumped(path, name);
        }
        Ok(Self::of(name, input))
    }

    fn of(name: String, input: impl BufRead + 'static) -> Self {
        Self { name, input: Box::new(input), number: 0, dump: None }
    }

    /// The next line; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Line>> {
        let fail = |e| Failure::Usage(format!("{}: {e}", self.name));
        let mut bytes = Vec::new();
        if (&mut self.input).take(LONGEST).read_until(b'\n', &mut bytes).map_err(fail)? == 0 {
            let status = self.dump.as_mut().map(Child::wait).transpose().map_err(fail)?;
            return match status {
                Some(status) if !status.success() => {
                    Err(Failure::Usage(format!("{}: db_dump could not read it ({status})", self.name)))
                }
                _ => Ok(None),
            };
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

/// Berkeley DB's files have a number at byte 12, of a B-tree or of a hash, in either order of bytes.
fn is_berkeley_db(beginning: &[u8]) -> bool {
    let magic = beginning.get(12..16).and_then(|bytes| bytes.first_chunk::<4>());
    magic.is_some_and(|bytes| {
        [u32::from_le_bytes(*bytes), u32::from_be_bytes(*bytes)]
            .iter()
            .any(|n| matches!(n, 0x5_3162 | 0x6_1561))
    })
}

/// The text of a Berkeley DB, printed by its own program.
fn dumped(path: &Path, name: String) -> Result<Source> {
    for program in ["db5.3_dump", "db_dump"] {
        let child = Command::new(program)
            .args(["-p", "--"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        match child {
            Ok(mut child) => {
                let Some(text) = child.stdout.take() else { continue };
                return Ok(Source { dump: Some(child), ..Source::of(name, BufReader::new(text)) });
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::Usage(format!("{program}: {e}"))),
        }
    }
    Err(Failure::Usage(format!(
        "{name} is a Berkeley DB, which db_dump prints: install db5.3-util (Debian) or libdb-utils \
         (Fedora), or import what `db_dump -p` prints elsewhere"
    )))
}
