//! `eximgrey export`: all that a store holds as lines of JSON, to be read by `eximgrey import eximgrey`.

pub mod lines;

use crate::command::{self, Failure, Outcome, Result};
use crate::output::count;
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::Table;
use eximgrey::time::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes all that the store holds, a JSON object a line: complete, so that it can be read into an empty
/// store as if nothing had happened.
///
/// It holds who writes to whom and the store's secret: a new file is readable to its owner alone. Exim may go
/// on meanwhile.
#[derive(Args)]
pub struct Export {
    /// The file, which must not exist; - for the standard output
    file: PathBuf,
}

pub fn run(command: &Export, settings: &Settings, out: &mut impl Write) -> Result {
    // Opened before root becomes the store's owner: it is root's file.
    let file = if command.file == Path::new("-") { None } else { Some(create(&command.file)?) };
    let Some(file) = file else { return write(settings, out).map(|(_, outcome)| outcome) };
    let mut writer = BufWriter::new(&file);
    let written = write(settings, &mut writer).and_then(|written| {
        writer.flush().and_then(|()| file.sync_all()).map_err(|e| trouble(&command.file, &e))?;
        Ok(written)
    });
    if written.is_err() {
        // Its directory may not be the store owner's to remove it from.
        let _ = file.set_len(0);
    }
    let (records, outcome) = written?;
    writeln!(out, "{} exported to {}", count(records, "record"), command.file.display())?;
    Ok(outcome)
}

fn create(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    opened.map_err(|e| trouble(path, &e))
}

fn trouble(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}

/// Writes the lines; says how many records they hold.
fn write(settings: &Settings, out: &mut impl Write) -> Result<(u64, Outcome)> {
    let now = Timestamp::now();
    let Some(store) = command::open_store(settings, now)? else {
        return Err(Failure::Usage("nothing was ever recorded: there is nothing to export".into()));
    };
    writeln!(out, "{}", lines::head(&store.head(), now))?;
    let (mut records, mut unreadable) = (0, 0);
    for table in [Table::Known, Table::Pending] {
        let mut written = Ok(());
        let skipped = store.scan_all(table, |key, record| {
            records += 1;
            written = writeln!(out, "{}", lines::line(&key, &record));
            written.is_ok()
        })?;
        written?;
        unreadable += skipped.unreadable;
    }
    writeln!(out, "{}", lines::end(records))?;
    if unreadable == 0 {
        return Ok((records, Outcome::Done));
    }
    let left_out = count(unreadable, "record");
    command::complain(&Failure::Usage(format!("{left_out} of a later version left out")));
    Ok((records, Outcome::Negative))
}
