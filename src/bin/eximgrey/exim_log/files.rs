//! The files of a log: plain or packed, in the order of their times, or what journalctl prints.

use super::{Clock, Line};
use crate::command::{Failure, Result};
use crate::terminal::Progress;
use eximgrey::time::Timestamp;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

/// The longest line that is read. Exim writes none of more than 8 KB, the journal may put as much around it.
const LONGEST: u64 = 32 << 10;

/// How much of a file is searched for its first time, at most.
const BUFFER: usize = 64 << 10;

/// What a packed file may need to be unpacked. `xz -9` needs 64 MB.
const XZ_MEMORY_KB: u32 = 128 << 10;

/// The files of one log, all of them open, the oldest first.
pub struct Logs {
    sources: Vec<Source>,
    clock: Clock,
    /// All together; `None` where one of them is no file.
    bytes: Option<u64>,
}

struct Source {
    name: String,
    input: Input,
    first: Option<Timestamp>,
}

enum Input {
    File(File),
    /// What cannot be read twice has been begun.
    Begun(Box<dyn BufRead>),
}

/// How many lines there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub all: u64,
    /// Those that are none of Exim's.
    pub unknown: u64,
}

impl Logs {
    /// Opens the files; `-` is the standard input. `utc`: times without their zone are UTC.
    pub fn open(paths: &[PathBuf], utc: bool, now: Timestamp) -> Result<Self> {
        let mut clock = Clock::new(utc, now);
        let open = |path: &PathBuf| {
            let name = path.display().to_string();
            Source::open(path, &mut clock).map_err(|error| trouble(&name, &error))
        };
        let mut sources = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
        let bytes = sources.iter().map(Source::bytes).sum();
        sources.sort_by_key(|source| source.first.unwrap_or(Timestamp(u32::MAX)));
        Ok(Self { sources, clock, bytes })
    }

    /// Calls `take` with each line of Exim's.
    pub fn read(self, mut take: impl FnMut(&Line<'_>) -> Result<()>) -> Result<Lines> {
        let Self { sources, mut clock, bytes } = self;
        let progress = bytes.map(|bytes| Progress::bytes("reading", bytes));
        clock.start_over();
        let mut lines = Lines::default();
        let mut buffer = Vec::new();
        for Source { name, input, .. } in sources {
            let trouble = |error| trouble(&name, &error);
            let mut input = match input {
                Input::File(file) => match &progress {
                    Some(progress) => unpacked(Box::new(progress.reading(file))),
                    None => unpacked(Box::new(file)),
                }
                .map_err(trouble)?,
                Input::Begun(input) => input,
            };
            let mut entry = None;
            while next_line(&mut *input, &mut buffer).map_err(trouble)? {
                let line = buffer.strip_suffix(b"\r").unwrap_or(&buffer);
                if line.starts_with(b"__CURSOR=") {
                    entry = Some(Entry::default());
                }
                if let Some(entry) = &mut entry {
                    if !line.is_empty() {
                        entry.field(line, &mut *input).map_err(trouble)?;
                        continue;
                    }
                    lines.take(std::mem::take(entry).line(&mut clock), &mut take)?;
                } else if line.starts_with(b"{") {
                    lines.take(Entry::of_json(line).line(&mut clock), &mut take)?;
                } else {
                    lines.take(Line::read(line, &mut clock), &mut take)?;
                }
            }
            if let Some(entry) = entry.filter(|entry| entry.time.is_some()) {
                lines.take(entry.line(&mut clock), &mut take)?;
            }
        }
        Ok(lines)
    }
}

impl Lines {
    fn take(&mut self, line: Option<Line<'_>>, mut take: impl FnMut(&Line<'_>) -> Result<()>) -> Result<()> {
        self.all += 1;
        self.unknown += u64::from(line.is_none());
        line.map_or(Ok(()), |line| take(&line))
    }
}

fn trouble(name: &str, error: &io::Error) -> Failure {
    Failure::Usage(format!("{name}: {error}"))
}

impl Source {
    fn bytes(&self) -> Option<u64> {
        match &self.input {
            Input::File(file) => Some(file.metadata().ok()?.len()),
            Input::Begun(_) => None,
        }
    }

    fn open(path: &Path, clock: &mut Clock) -> io::Result<Self> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            let mut input = unpacked(Box::new(io::stdin()))?;
            let first = first_time(input.fill_buf()?, clock);
            return Ok(Self { name, input: Input::Begun(input), first });
        }
        let mut file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let mut input = unpacked(Box::new(file.try_clone()?))?;
        let first = first_time(input.fill_buf()?, clock);
        let input = match meta.is_file() {
            true => {
                // It is unpacked again when its turn comes: that takes memory.
                file.rewind()?;
                Input::File(file)
            }
            false => Input::Begun(input),
        };
        Ok(Self { name, input, first })
    }
}

/// Told by how they begin: not every .gz is called so.
fn unpacked(mut file: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    // A pipe may have less to read at first.
    let mut begin = Vec::new();
    file.by_ref().take(6).read_to_end(&mut begin)?;
    let file = BufReader::with_capacity(BUFFER, io::Cursor::new(begin.clone()).chain(file));
    if begin.starts_with(b"\x1f\x8b") {
        return Ok(Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))));
    }
    if begin.starts_with(b"\xfd7zXZ\0") {
        let reader = XzReader::new_mem_limit(file, true, XZ_MEMORY_KB);
        return Ok(Box::new(BufReader::with_capacity(BUFFER, reader)));
    }
    Ok(Box::new(file))
}

fn first_time(text: &[u8], clock: &mut Clock) -> Option<Timestamp> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        if let Some(time) = line.strip_prefix(b"__REALTIME_TIMESTAMP=") {
            return microseconds(time);
        }
        if line.starts_with(b"{") {
            return Entry::of_json(line).time;
        }
        clock.read(line).map(|(time, _)| time)
    })
}

/// The next line without its end; what it has above [`LONGEST`] is left out.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.take(LONGEST).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if read as u64 == LONGEST {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

/// An entry of the journal.
#[derive(Default)]
struct Entry {
    time: Option<Timestamp>,
    message: Vec<u8>,
    program: Vec<u8>,
}

impl Entry {
    /// A line of `journalctl -o json`. A message that is not UTF-8 is a list of its bytes there.
    fn of_json(line: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(line) else { return Self::default() };
        let bytes = |key| match object.get(key) {
            Some(Value::String(text)) => text.as_bytes().to_vec(),
            Some(Value::Array(bytes)) => {
                bytes.iter().filter_map(Value::as_u64).filter_map(|byte| u8::try_from(byte).ok()).collect()
            }
            _ => Vec::new(),
        };
        let time = microseconds(&bytes("__REALTIME_TIMESTAMP"));
        Self { time, message: bytes("MESSAGE"), program: bytes("SYSLOG_IDENTIFIER") }
    }

    /// A line of `journalctl -o export`. Of a field that is no plain text its name stands alone in the line, and
    /// then come its length in eight bytes, itself, and a line's end.
    fn field(&mut self, line: &[u8], input: &mut dyn BufRead) -> io::Result<()> {
        let mut parts = line.splitn(2, |&byte| byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = match parts.next() {
            Some(value) => value.to_vec(),
            None => {
                let mut length = [0; 8];
                match input.read_exact(&mut length) {
                    // Cut off there.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    read => read?,
                }
                let length = u64::from_le_bytes(length);
                let mut value = Vec::new();
                input.take(length.min(LONGEST)).read_to_end(&mut value)?;
                let rest = length.saturating_sub(LONGEST).saturating_add(1);
                io::copy(&mut input.take(rest), &mut io::sink())?;
                value
            }
        };
        match name {
            b"__REALTIME_TIMESTAMP" => self.time = microseconds(&value),
            b"MESSAGE" => self.message = value,
            b"SYSLOG_IDENTIFIER" => self.program = value,
            _ => {}
        }
        Ok(())
    }

    fn line(&self, clock: &mut Clock) -> Option<Line<'_>> {
        let exim = self.program.to_ascii_lowercase().windows(4).any(|part| part == b"exim");
        let (time, text) = clock.text(self.time.filter(|_| exim)?, &self.message);
        Some(Line::of(time, text))
    }
}

fn microseconds(text: &[u8]) -> Option<Timestamp> {
    let time: u64 = str::from_utf8(text).ok()?.parse().ok()?;
    u32::try_from(time / 1_000_000).ok().map(Timestamp)
}
