//! What `eximgrey export` has written.

use super::reader::Source;
use super::summary::Summary;
use crate::command::{self, Failure, Outcome, Result};
use crate::export::lines;
use eximgrey::settings::Settings;
use eximgrey::store::any::Any;
use eximgrey::store::bulk::TakenIn;
use eximgrey::store::record::{Meta, Record};
use eximgrey::time::Timestamp;
use eximgrey::triplet::{Key, Secret};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// Records that are taken in at once.
pub const CHUNK: usize = 10_000;

pub fn run(files: &[PathBuf], dry_run: bool, settings: &Settings, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    // Root's own files, before root becomes the store's owner.
    let mut sources = files.iter().map(|file| Source::open(file)).collect::<Result<Vec<_>>>()?;
    let heads = sources.iter_mut().map(head).collect::<Result<Vec<_>>>()?;
    let mut store = match dry_run {
        true => command::open_store(settings, now)?,
        false => Some(command::open_store_to_write(settings, now)?),
    };
    let mut summary = Summary::of(dry_run);
    let mut whole = true;
    for (mut source, head) in sources.into_iter().zip(heads) {
        let same = match &mut store {
            Some(store) if dry_run => store.secret() == &head.secret || store.holds_nothing()?,
            Some(store) => store.adopt(head)?,
            None => true,
        };
        let secret = if same { None } else { store.as_ref().map(|store| *store.secret()) };
        let written = store.as_ref().filter(|_| !dry_run);
        let mut take_in = |records| match written {
            Some(store) => Ok(store.take_in(records, now)?),
            None => Ok(TakenIn::default()),
        };
        let is_whole = read(&mut source, secret.as_ref(), settings, &mut summary, now, &mut take_in)?;
        whole &= is_whole;
        if !is_whole {
            let name = source.name;
            command::complain(&Failure::Usage(format!("{name} is not whole: it ends before its last line")));
        }
        if secret.is_some() {
            writeln!(
                out,
                "another store's secret: records come under new keys, made from their texts, first attempts \
                 not at all"
            )?;
        }
    }
    let outcome = summary.write(out)?;
    Ok(if whole { outcome } else { Outcome::Negative })
}

fn head(source: &mut Source) -> Result<Meta> {
    let line = source.next()?.map(|line| line.bytes).unwrap_or_default();
    let head = parse(&line).and_then(|value| lines::read_head(&value));
    head.map_err(|expected| Failure::Usage(format!("{}: expected {expected}", source.name)))
}

fn parse(line: &[u8]) -> std::result::Result<Value, String> {
    serde_json::from_slice(line).map_err(|_| "the first line of an eximgrey export".into())
}

/// Reads the records, under new keys where there is a `secret` for these, and has them taken in. Says whether
/// the file is whole.
fn read(
    source: &mut Source,
    secret: Option<&Secret>,
    settings: &Settings,
    summary: &mut Summary,
    now: Timestamp,
    take_in: &mut dyn FnMut(Vec<(Key, Any)>) -> Result<TakenIn>,
) -> Result<bool> {
    let (mut chunk, mut records, mut end) = (Vec::new(), 0, None);
    while let Some(line) = source.next()? {
        let value = serde_json::from_slice::<Value>(&line.bytes).ok().filter(|_| !line.too_long);
        end = value.as_ref().and_then(lines::read_end);
        if end.is_some() {
            continue;
        }
        records += 1;
        let record = match value.map(|value| lines::read(&value)) {
            None => Err("a JSON object".into()),
            Some(Ok((_, any))) if any.expires() < now => {
                summary.expired += 1;
                continue;
            }
            Some(Ok((key, any))) => match secret {
                None => Ok((key, any)),
                Some(secret) => {
                    let level = settings.rules_for(None, recipient(&any), &Default::default());
                    let level = level.map_or(settings.rules.sender_key, |rules| rules.sender_key);
                    let key = any.key_elsewhere(secret, level);
                    key.map(|key| (key, any)).ok_or_else(|| "whole texts, to make a new key from".into())
                }
            },
            Some(Err(expected)) => Err(expected),
        };
        match record {
            Err(expected) => summary.cannot(&source.name, line.number, &expected, &line.bytes),
            Ok(record) => {
                summary.count(&record.1);
                chunk.push(record);
            }
        }
        if chunk.len() == CHUNK {
            summary.taken += take_in(std::mem::take(&mut chunk))?;
        }
    }
    summary.taken += take_in(chunk)?;
    Ok(end == Some(records))
}

fn recipient(any: &Any) -> &[u8] {
    match any {
        Any::Attempt(Record { texts, .. }) => &texts.recipient,
        Any::Entry(entry) => entry.texts.last().map_or(&[], Vec::as_slice),
    }
}
