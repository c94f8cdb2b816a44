//! The queue: updates of `known` that wait in `pending-BOOT`, so that no decision waits for the disk.
//!
//! What `known` is to learn is first written beside the first attempts, where a write needs no flush. A
//! triplet that has passed is marked there, too, so every later look finds it. Then somebody carries: all
//! that is queued is written to `known` in one transaction with one flush: whoever has queued a pass, at
//! once, if nobody else is writing there, and if not many have carried in this second. Otherwise it goes its
//! way. The one who carries looks again when it is done, and a decision that finds something queued for
//! longer than a second carries it.
//!
//! ```text
//! pending  "\0\0q" and a number (u64, big-endian)    an update: see update.rs
//!          "\0\0queue"      version, kind 7, who the queue is [8], the next number (u64)
//! known    "\0\0carried"    version, kind 8, who the queue was [8], the last number that was carried (u64)
//! ```
//!
//! Kept true here:
//! - Updates are carried in their order, each once: `known` notes the last one in the transaction that writes
//!   it.
//! - A process that dies at any point loses nothing. A crash of the machine loses what was not carried: a
//!   second's worth.
//! - Nobody waits: whoever finds the lock of `known` taken does not carry.

use super::error::StoreError;
use super::lmdb::{Env, Patience, Snapshot, Trouble, Writer};
use super::record::{CARRIED, Decoder, QUEUE, VERSION};
use super::state::State;
use super::update::Update;
use super::{Store, sys};
use crate::time::{Seconds, Timestamp};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const HEAD_KEY: &[u8] = b"\0\0queue";
const PREFIX: &[u8] = b"\0\0q";
const CARRIED_KEY: &[u8] = b"\0\0carried";

/// Updates that one transaction carries. Each changes two or three pages; LMDB keeps 511 in memory and writes
/// more of them early.
const MOST: usize = 400;

/// How often somebody who carries looks again for what was queued meanwhile: its own call is waiting.
const ROUNDS: usize = 4;

/// How many carry in a second at once. On a quiet server each pass is on the disk when it is answered; on a
/// busy one so few decisions wait for a flush that it does not show in the 99th percentile.
const AT_ONCE: u64 = 8;

/// So much is queued that somebody carries it whatever the second.
const LONG: u64 = 2 * MOST as u64;

/// How long something may be queued before any decision carries it.
const SOON: Seconds = Seconds(1);

/// What the file `state` says of the queue, so that nobody needs to look there in vain. Changed under the
/// lock of `pending`.
struct Hints<'s> {
    /// When something was queued that is still there; 0: nothing is.
    since: &'s AtomicU64,
    /// Whether a decision has to know of it, and would not find it among the first attempts.
    told: &'s AtomicU64,
    /// The second in which somebody last carried, and in the lowest 8 bits how many did so in it.
    carried: &'s AtomicU64,
}

impl Hints<'_> {
    /// How many have carried in this second.
    fn carried_in(&self, now: Timestamp) -> u64 {
        let carried = self.carried.load(Relaxed);
        if carried >> 8 == u64::from(now.0) { carried & 0xff } else { 0 }
    }

    fn count_carrier(&self, now: Timestamp) {
        let many = (self.carried_in(now) + 1).min(0xff);
        self.carried.store(u64::from(now.0) << 8 | many, Relaxed);
    }
}

impl<'s> Hints<'s> {
    fn of(state: &'s State) -> Option<Self> {
        let [since, told, carried] = state.queue()?;
        Some(Self { since, told, carried })
    }
}

/// Who the queue is, and a number in it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    queue: [u8; 8],
    number: u64,
}

impl Place {
    fn encode(self, kind: u8) -> Vec<u8> {
        [&[VERSION, kind][..], &self.queue, &self.number.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8], wanted: u8) -> Option<Self> {
        let mut reader = Decoder(bytes);
        let [VERSION, kind] = reader.array()? else { return None };
        let place = Self { queue: reader.array()?, number: u64::from_le_bytes(reader.array()?) };
        (kind == wanted).then_some(place)
    }
}

fn key(number: u64) -> Vec<u8> {
    [PREFIX, &number.to_be_bytes()].concat()
}

fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(PREFIX)?.try_into().ok()?))
}

/// Whether a record belongs to the queue.
pub(super) fn owns(key: &[u8]) -> bool {
    key == HEAD_KEY || key == CARRIED_KEY || number(key).is_some()
}

/// The number of the first update that is queued, by a transaction's `each_from`.
fn first(
    each_from: impl FnOnce(&[u8], &mut dyn FnMut(&[u8], &[u8]) -> bool) -> lmdb::Result<()>,
) -> lmdb::Result<Option<u64>> {
    let mut first = None;
    each_from(&key(0), &mut |key, _| {
        first = number(key);
        false
    })?;
    Ok(first)
}

/// Some of what is queued, in its order.
#[derive(Default)]
pub(super) struct Batch {
    queue: [u8; 8],
    /// `None` for one of a version that this library does not know.
    pub(super) updates: Vec<(u64, Option<Update>)>,
}

impl Batch {
    fn read(snapshot: &Snapshot<'_>) -> lmdb::Result<Self> {
        let Some(head) = snapshot.get(HEAD_KEY)?.and_then(|bytes| Place::decode(bytes, QUEUE)) else {
            return Ok(Self::default());
        };
        let mut batch = Self { queue: head.queue, ..Self::default() };
        snapshot.each_from(&key(0), |key, value| {
            let number = number(key);
            batch.updates.extend(number.map(|number| (number, Update::decode(value))));
            number.is_some() && batch.updates.len() < MOST
        })?;
        Ok(batch)
    }
}

impl Store {
    /// Queues an update in a transaction of `pending`. Says whether the queue is long.
    pub(super) fn enqueue(&self, writer: &mut Writer<'_>, update: &Update) -> Result<bool, Trouble> {
        let head = writer.get(HEAD_KEY)?.and_then(|bytes| Place::decode(bytes, QUEUE));
        let head = match head {
            Some(head) => head,
            None => {
                let fail = |cause| StoreError::Open { path: self.settings.path.clone(), cause };
                Place { queue: sys::random().map_err(fail)?, number: 1 }
            }
        };
        writer.put(&key(head.number), &update.encode())?;
        writer.put(HEAD_KEY, &Place { number: head.number + 1, ..head }.encode(QUEUE))?;
        // Set before the commit: a process that dies in between must not leave a queue that nobody looks for.
        if let Some(hints) = self.state.as_deref().and_then(Hints::of) {
            let _ = hints.since.compare_exchange(0, u64::from(update.now.0).max(1), Relaxed, Relaxed);
            if update.is_told() {
                hints.told.store(1, Relaxed);
            }
        }
        let first = first(|from, visit| writer.each_from(from, visit))?;
        Ok(first.is_some_and(|first| head.number.saturating_sub(first) >= LONG))
    }

    /// Carries what was just queued, unless many have carried in this second and the queue is not `long`.
    ///
    /// # Errors
    /// As [`Store::carry`].
    pub(super) fn carry_at_once(&self, long: bool, now: Timestamp) -> Result<(), StoreError> {
        let many = self.state.as_deref().and_then(Hints::of).map_or(0, |hints| hints.carried_in(now));
        if long || many < AT_ONCE { self.carry(now) } else { Ok(()) }
    }

    /// Queues an update that no decision waits for, and carries it unless somebody has carried something in
    /// this second.
    pub(super) fn queue(&self, update: &Update, patience: Patience) -> Result<(), StoreError> {
        let long = self.pending()?.write(patience, |writer| self.enqueue(writer, update))?;
        let hints = self.state.as_deref().and_then(Hints::of);
        let lately = hints.is_some_and(|hints| hints.carried_in(update.now) > 0);
        if lately && !long { Ok(()) } else { self.carry(update.now) }
    }

    /// Carries what a decision should not do without, and what has waited for long.
    pub(super) fn carry_what_is_due(&self, now: Timestamp) {
        let Some(hints) = self.state.as_deref().and_then(Hints::of) else { return };
        let since = hints.since.load(Relaxed);
        // One from the future was queued before the clock was set back.
        let is_old = since != 0 && u64::from(now.0).abs_diff(since) > u64::from(SOON.0);
        if is_old || hints.told.load(Relaxed) != 0 {
            // The decision is made on what there is; who queues something is told of trouble.
            let _ = self.carry(now);
        }
    }

    /// Carries what is queued, unless somebody else is writing to `known`.
    ///
    /// # Errors
    /// See [`StoreError`]; what was not carried stays queued.
    pub(super) fn carry(&self, now: Timestamp) -> Result<(), StoreError> {
        match self.carry_rounds(Patience::None, ROUNDS) {
            Err(StoreError::Lock { .. }) => return Ok(()),
            other => other?,
        }
        if let Some(hints) = self.state.as_deref().and_then(Hints::of) {
            hints.count_carrier(now);
        }
        Ok(())
    }

    /// Carries all that is queued, for the administrator, who waits for it.
    ///
    /// # Errors
    /// See [`StoreError`]; what was not carried stays queued.
    pub fn carry_all(&self) -> Result<(), StoreError> {
        self.carry_rounds(self.patience(), usize::MAX)
    }

    fn carry_rounds(&self, patience: Patience, rounds: usize) -> Result<(), StoreError> {
        let hints = self.state.as_deref().and_then(Hints::of);
        let since = hints.as_ref().map_or(0, |hints| hints.since.load(Relaxed));
        let Some(pending) = self.pending_if_there()? else {
            // Of another boot.
            if let Some(hints) = hints {
                let _ = hints.since.compare_exchange(since, 0, Relaxed, Relaxed);
                hints.told.store(0, Relaxed);
            }
            return Ok(());
        };
        for round in 0..rounds {
            if pending.read(|snapshot| first(|from, visit| snapshot.each_from(from, visit)))?.is_none() {
                if round == 0 && since != 0 {
                    // Somebody has died before it was there.
                    self.leave_the_queue(pending, &Batch::default())?;
                }
                break;
            }
            let batch = self.known.write(patience, |writer| self.write_queued(pending, writer))?;
            if batch.updates.is_empty() {
                // Its head is lost, or of a later version.
                break;
            }
            self.leave_the_queue(pending, &batch)?;
        }
        Ok(())
    }

    /// Writes what is queued to `known`, but what was written before: its carrier may have died before it
    /// left the queue.
    pub(super) fn write_queued(&self, pending: &Env, writer: &mut Writer<'_>) -> Result<Batch, Trouble> {
        let before = writer.get(CARRIED_KEY)?.and_then(|bytes| Place::decode(bytes, CARRIED));
        let batch = pending.read(Batch::read)?;
        let before = before.filter(|before| before.queue == batch.queue).map_or(0, |before| before.number);
        let mut last = before;
        for (number, update) in batch.updates.iter().filter(|(number, _)| *number > before) {
            last = *number;
            match update.as_ref().map(|update| update.write(writer, self)) {
                // A later version's record stands in its place, and stays there.
                Some(Err(Trouble::Lmdb(lmdb::Error::VersionMismatch))) | Some(Ok(_)) | None => {}
                Some(Err(trouble)) => return Err(trouble),
            }
        }
        if last > before {
            writer.put(CARRIED_KEY, &Place { queue: batch.queue, number: last }.encode(CARRIED))?;
        }
        Ok(batch)
    }

    /// What was carried goes, and so do the marks of those who have passed by it.
    fn leave_the_queue(&self, pending: &Env, batch: &Batch) -> Result<(), StoreError> {
        pending.write(self.patience(), |writer| {
            for (number, update) in &batch.updates {
                update.iter().try_for_each(|update| update.unmark(writer))?;
                writer.delete(&key(*number))?;
            }
            let empty = first(|from, visit| writer.each_from(from, visit))?.is_none();
            if let Some(hints) = self.state.as_deref().and_then(Hints::of).filter(|_| empty) {
                hints.since.store(0, Relaxed);
                hints.told.store(0, Relaxed);
            }
            Ok(())
        })
    }
}
