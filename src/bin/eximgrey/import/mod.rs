//! What another greylister has kept, as entries of ours. Each peer has a file here, which is pure: a function
//! that makes an entry of a line, or says what it expected.

pub mod command;
mod gather;
mod greylistd;
mod milter_greylist;
pub mod own;
mod peer;
pub mod postgrey;
mod postgrey_db;
mod reader;
mod spamd;
mod sql;
mod sqlgrey;
mod summary;

use crate::command::{Failure, Outcome, Result, complain};
use eximgrey::store::bulk::MOST;
use eximgrey::whitelist::ListKind;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

/// An entry for the whitelist.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    pub kind: ListKind,
    /// In its canonical form.
    pub entry: Vec<u8>,
    pub comment: String,
}

/// What a line says: an entry, nothing, or not what was expected.
pub type Line<E> = std::result::Result<Option<E>, String>;

/// Reads all lines of `files`. Yields the entries, and which lines were left out.
pub fn read<E>(files: &[PathBuf], entry: impl Fn(&str) -> Line<E>) -> Result<(Vec<E>, Vec<String>)> {
    let (mut entries, mut left_out) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.display();
        let bytes = fs::read(file).map_err(|e| Failure::Usage(format!("{name}: {e}")))?;
        // Editors of other systems put a byte order mark in front.
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes));
        for (number, line) in (1..).zip(text.lines()) {
            match entry(line) {
                Ok(entry) => entries.extend(entry),
                Err(expected) => {
                    left_out.push(format!("{name}:{number}: expected {expected}, found {:?}", line.trim()));
                }
            }
        }
    }
    if entries.len() > MOST {
        return Err(Failure::Usage(format!("more than {MOST} entries at once")));
    }
    Ok((entries, left_out))
}

/// Says how many entries were added and how many were there, and names the lines that were left out.
pub fn report(added: usize, there: usize, left_out: &[String], out: &mut impl Write) -> Result {
    let there = if there == 0 { String::new() } else { format!(", {there} already there") };
    writeln!(out, "{added} entries added{there}")?;
    if left_out.is_empty() {
        return Ok(Outcome::Done);
    }
    out.flush()?;
    let text = format!("{} lines were left out:\n{}", left_out.len(), left_out.join("\n"));
    complain(&Failure::Usage(text));
    Ok(Outcome::Negative)
}

#[cfg(test)]
mod tests;
