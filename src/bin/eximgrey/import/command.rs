//! `eximgrey import`

use super::gather::{Gather, Gathered};
use super::reader::Source;
use super::summary::Summary;
use super::{greylistd, milter_greylist, own, peer, postgrey_db, spamd, sql, sqlgrey};
use crate::command::{self, Failure, Result};
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::any::Any;
use eximgrey::time::Timestamp;
use eximgrey::triplet::{Key, Secret};
use eximgrey::words;
use std::io::Write;
use std::path::PathBuf;

/// Takes in what another greylister has learnt, or another eximgrey has exported. What is known already loses
/// nothing by it, and the same files may be read again.
///
/// What is read has to be text; docs/moving.md has the command for each peer. What has passed there is known
/// here from then on. Exit status 1: nothing could be imported.
#[derive(Args)]
pub struct Import {
    /// Who wrote the files
    #[arg(value_parser = command::one_of::<Peer>())]
    peer: Peer,
    /// The files; - for the standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only say what would be imported
    #[arg(long)]
    dry_run: bool,
    /// First attempts, too, whose retry may still come
    #[arg(long)]
    pending: bool,
}

words! {
    /// Whose files can be imported.
    Peer {
        /// What `eximgrey export` has written.
        Eximgrey = "eximgrey",
        /// Its databases postgrey.db and postgrey_clients.db, or what `db_dump -p` makes of them.
        Postgrey = "postgrey",
        /// Its files states and triplets, both.
        Greylistd = "greylistd",
        /// Its tables from_awl, domain_awl and connect, as text.
        Sqlgrey = "sqlgrey",
        /// Its dump, greylist.db.
        MilterGreylist = "milter-greylist",
        /// The output of OpenBSD's `spamdb`, or of greyd.
        Spamd = "spamd",
        /// The table resenders of the ACL that Fedora's exim has, as text.
        Fedora = "fedora",
        /// Its table greylisting_tracking, as text.
        Iredapd = "iredapd",
    }
}

impl Peer {
    fn reader(self) -> Option<Box<dyn peer::Peer>> {
        Some(match self {
            Self::Eximgrey => return None,
            Self::Postgrey => Box::new(postgrey_db::Postgrey::default()),
            Self::Greylistd => Box::new(greylistd::Greylistd::default()),
            Self::Sqlgrey => Box::new(sqlgrey::Sqlgrey),
            Self::MilterGreylist => Box::new(milter_greylist::MilterGreylist),
            Self::Spamd => Box::new(spamd::Spamd),
            Self::Fedora => Box::new(sql::Fedora),
            Self::Iredapd => Box::new(sql::Iredapd),
        })
    }
}

pub fn run(command: &Import, settings: &Settings, out: &mut impl Write) -> Result {
    let Import { peer, files, dry_run, pending } = command;
    match peer.reader() {
        None if *pending => {
            Err(Failure::Usage("--pending is for other greylisters: an export has them all".into()))
        }
        None => own::run(files, *dry_run, settings, out),
        Some(reader) => take_over(reader, command, settings, out),
    }
}

fn take_over(
    mut reader: Box<dyn peer::Peer>,
    command: &Import,
    settings: &Settings,
    out: &mut impl Write,
) -> Result {
    let now = Timestamp::now();
    // Root's own files, before root becomes the store's owner.
    let sources = command.files.iter().map(|file| Source::open(file)).collect::<Result<Vec<_>>>()?;
    let store = match command.dry_run {
        true => command::open_store(settings, now)?,
        false => Some(command::open_store_to_write(settings, now)?),
    };
    let secret = store.as_ref().map_or(Secret([0; 16]), |store| *store.secret());
    let mut taking = Taking {
        store: store.filter(|_| !command.dry_run),
        now,
        chunk: Vec::new(),
        summary: Summary::of(command.dry_run),
    };
    let mut gather = Gather::new(settings, secret, now);
    for mut source in sources {
        reader.begin();
        while let Some(line) = source.next()? {
            let read = if line.too_long { Err("a shorter line".into()) } else { reader.line(&line.bytes) };
            let gathered = match read {
                Ok(None) => continue,
                Ok(Some(peer::Said::Waits { .. })) if !command.pending => {
                    taking.summary.left += 1;
                    continue;
                }
                Ok(Some(said)) => gather.add(said),
                Err(expected) => Err(expected),
            };
            match gathered {
                Ok(Gathered::Take(key, record)) => taking.take(key, record)?,
                Ok(Gathered::Counted) => {}
                Ok(Gathered::Expired) => taking.summary.expired += 1,
                Err(expected) => {
                    taking.summary.cannot(&source.name, line.number, &expected, &line.bytes);
                }
            }
        }
    }
    for (key, record) in gather.clients() {
        taking.take(key, record)?;
    }
    taking.write()?;
    if let Some((many, why)) = reader.end() {
        taking.summary.lost(many, why);
    }
    Ok(taking.summary.write(out)?)
}

/// Records on their way into the store; there is none in a dry run.
struct Taking {
    store: Option<Store>,
    now: Timestamp,
    chunk: Vec<(Key, Any)>,
    summary: Summary,
}

impl Taking {
    fn take(&mut self, key: Key, record: Any) -> Result<()> {
        self.summary.count(&record);
        self.chunk.push((key, record));
        if self.chunk.len() < own::CHUNK { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        if let Some(store) = &self.store {
            self.summary.taken += store.take_in(chunk, self.now)?;
        }
        Ok(())
    }
}
