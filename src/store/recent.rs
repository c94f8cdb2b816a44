//! The newest decisions, for whoever watches: a ring of places in the file `state`. Nothing is written there
//! unless somebody watches, who says so anew every second; so a decision that nobody watches costs no page
//! fault more.
//!
//! ```text
//! place    0  u64  the number of what is noted there, plus one; 0: somebody is writing it
//!          8  u32  when
//!         12  u8   reason; 255: no decision, but a trap was set
//!         13  u8   what a retry was recognised by: 1 to 4 network SPF DKIM host, 5 the message, 6 the sender
//!         14  u8   flags: 1 a text was cut, 2 would have been deferred
//!         16  u32  seconds to wait, or that it waited
//!         20  u16  bytes of texts
//!         24       texts: sender, recipient, then for each identity its kind [u8] and its text; with `privacy = true` none
//! text     0  u8   length, then so many bytes
//! ```
//!
//! Kept true here:
//! - Who writes waits for nobody, and who reads takes nothing that is half written: the number before and
//!   after must be the same.
//! - A process that is stopped in the middle of a place for so long that the ring comes round may mix two
//!   decisions there. It is a line on a screen.

use super::Store;
use super::record::{Decoder, Encoder};
use super::state::Place;
use crate::memory::Question;
use crate::reply::{By, Matched, Reason, Reply};
use crate::time::{Seconds, Timestamp};
use crate::triplet::Triplet;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// Places of the ring: a third of a second at 1,500 decisions a second, the most that a measured Exim made.
pub(super) const PLACES: usize = 512;

/// The cells of a place that hold texts.
const TEXT_CELLS: usize = 60;

/// What fits: a longer sender, recipient or identity is cut.
const LONGEST: [usize; 3] = [150, 100, 54];
const _: () = assert!(LONGEST[0] + 1 + LONGEST[1] + 1 + 4 * (LONGEST[2] + 2) <= TEXT_CELLS * 8);

/// For so long decisions are noted after somebody said that he watches: he says so every second.
const WATCHED: Seconds = Seconds(3);

const CUT: u8 = 1;
const WOULD_DEFER: u8 = 2;
const TRAP: u8 = 255;
const MESSAGE: u8 = 5;
const SENDER: u8 = 6;

/// What was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// When.
    pub time: Timestamp,
    /// Why; `None`: no decision, but a trap was set.
    pub reason: Option<Reason>,
    /// Seconds to wait, or that it waited.
    pub seconds: Seconds,
    /// In observe mode: it would have been deferred.
    pub would_defer: bool,
    /// What a retry was recognised by.
    pub by: Option<Matched>,
    /// The envelope sender, as it came.
    pub sender: Vec<u8>,
    /// The recipient.
    pub recipient: Vec<u8>,
    /// The client's identities. None where the store keeps no texts.
    pub identities: Vec<(By, Vec<u8>)>,
    /// Whether a text was longer than a place holds.
    pub cut: bool,
}

/// The cell that says until when somebody watches, in its high half, and in the low one how many decisions
/// were noted.
#[derive(Clone, Copy)]
struct Watched<'s>(&'s AtomicU64);

impl<'s> Watched<'s> {
    fn of(store: &'s Store) -> Option<Self> {
        store.state.as_deref()?.watched().map(Self)
    }

    /// A time more than a minute ahead was said before the clock was set back.
    fn at(self, now: Timestamp) -> bool {
        let until = Timestamp((self.0.load(Relaxed) >> 32) as u32);
        now <= until && until <= now.plus(Seconds::MINUTE)
    }

    fn number(self) -> u32 {
        self.0.load(Relaxed) as u32
    }
}

impl Store {
    /// Notes a decision, if somebody watches.
    pub fn note(&self, triplet: &Triplet<'_>, reply: &Reply, now: Timestamp) {
        let Some(watched) = Watched::of(self).filter(|watched| watched.at(now)) else { return };
        let by = match reply.by {
            None => 0,
            Some(Matched::Identity(by)) => 1 + by as u8,
            Some(Matched::Message) => MESSAGE,
            Some(Matched::Sender) => SENDER,
        };
        let flags = if reply.is_observed() { WOULD_DEFER } else { 0 };
        let seconds = reply.wait.or(reply.delay).unwrap_or_default();
        self.write_place(watched, triplet, [reply.reason as u8, by, flags], (now, seconds));
    }

    /// Notes that the triplet's network was trapped, if somebody watches.
    pub(super) fn note_trap(&self, Question { triplet, rules, now }: &Question<'_>) {
        if let Some(watched) = Watched::of(self).filter(|watched| watched.at(*now)) {
            self.write_place(watched, triplet, [TRAP, 0, 0], (*now, rules.trap_time));
        }
    }

    fn write_place(
        &self,
        watched: Watched<'_>,
        triplet: &Triplet<'_>,
        [reason, by, flags]: [u8; 3],
        (now, seconds): (Timestamp, Seconds),
    ) {
        let (texts, cut) = if self.settings.privacy { (Vec::new(), false) } else { texts(triplet) };
        let flags = flags | if cut { CUT } else { 0 };
        let number = watched.0.fetch_add(1, Relaxed) as u32;
        let state = self.state.as_deref();
        let Some(place) = state.and_then(|state| state.place(number as usize % PLACES, true)) else { return };
        let [stamp, head, more, cells @ ..] = place;
        stamp.store(0, Relaxed);
        fence(Release);
        let words = [reason, by, flags, 0].map(u64::from);
        let words = words.iter().rev().fold(0, |all, word| all << 8 | word);
        head.store(u64::from(now.0) | words << 32, Relaxed);
        more.store(u64::from(seconds.0) | (texts.len() as u64) << 32, Relaxed);
        for (cell, bytes) in cells.iter().zip(texts.chunks(8)) {
            let mut eight = [0; 8];
            eight.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
            cell.store(u64::from_le_bytes(eight), Relaxed);
        }
        stamp.store(u64::from(number) + 1, Release);
    }
}

/// The texts of a triplet as a place has them, and whether one was cut.
fn texts(triplet: &Triplet<'_>) -> (Vec<u8>, bool) {
    let [longest_sender, longest_recipient, longest_identity] = LONGEST;
    let mut cut = false;
    let mut out = Encoder(Vec::with_capacity(TEXT_CELLS * 8));
    let mut add = |out: &mut Encoder, text: &[u8], longest: usize| {
        cut |= text.len() > longest;
        out.texts(&[text.get(..longest).unwrap_or(text)]);
    };
    add(&mut out, triplet.sender, longest_sender);
    add(&mut out, triplet.recipient.as_bytes(), longest_recipient);
    for identity in &triplet.identities {
        out.0.push(identity.by() as u8);
        add(&mut out, identity.to_string().as_bytes(), longest_identity);
    }
    (out.0, cut)
}

/// One who watches.
pub struct Watch {
    /// The number of what is read next.
    next: u32,
    /// Somebody was writing that when it was last looked at.
    unfinished: bool,
}

impl Watch {
    /// Has decisions noted from now on; `None` where nothing can be noted. To be said anew every second.
    #[must_use]
    pub fn begin(store: &Store, now: Timestamp) -> Option<Self> {
        let watch = Self { next: Watched::of(store)?.number(), unfinished: false };
        watch.go_on(store, now).then_some(watch)
    }

    /// Has decisions noted for some seconds more; `false` where nothing can be noted.
    #[must_use]
    pub fn go_on(&self, store: &Store, now: Timestamp) -> bool {
        let Some(state) = store.state.as_deref().filter(|state| state.prepare(0).is_ok()) else {
            return false;
        };
        let until = u64::from(now.plus(WATCHED).0) << 32;
        state.watched().is_some_and(|cell| {
            let new = |old: u64| Some(until | old & u64::from(u32::MAX));
            cell.fetch_update(Relaxed, Relaxed, new).is_ok()
        })
    }

    /// What was noted since the last look, and how much of it cannot be read any more.
    pub fn take(&mut self, store: &Store) -> (Vec<Noted>, u32) {
        let (mut taken, mut missed) = (Vec::new(), 0);
        let Some(state) = store.state.as_deref() else { return (taken, missed) };
        let number = state.watched().map_or(self.next, |cell| Watched(cell).number());
        let too_old = number.wrapping_sub(self.next).saturating_sub(PLACES as u32);
        missed += too_old;
        self.next = self.next.wrapping_add(too_old);
        while self.next != number {
            let place = state.place(self.next as usize % PLACES, false);
            match place.and_then(|place| read(place, self.next)) {
                Some(noted) => taken.push(noted),
                // It is there at the next look, unless its writer has died.
                None if !self.unfinished => {
                    self.unfinished = true;
                    return (taken, missed);
                }
                None => missed += 1,
            }
            self.unfinished = false;
            self.next = self.next.wrapping_add(1);
        }
        (taken, missed)
    }
}

/// What is noted in a place, if it has that number and is whole.
fn read(place: &Place, number: u32) -> Option<Noted> {
    let [stamp, head, more, cells @ ..] = place;
    let expected = u64::from(number) + 1;
    if stamp.load(Acquire) != expected {
        return None;
    }
    let (head, more) = (head.load(Relaxed), more.load(Relaxed));
    let texts: Vec<u8> = cells.iter().flat_map(|cell| cell.load(Relaxed).to_le_bytes()).collect();
    fence(Acquire);
    if stamp.load(Relaxed) != expected {
        return None;
    }
    let [_, _, _, _, reason, by, flags, _] = head.to_le_bytes();
    let length = usize::from((more >> 32) as u16);
    let mut noted = Noted {
        time: Timestamp(head as u32),
        reason: Reason::ALL.get(usize::from(reason)).copied(),
        seconds: Seconds(more as u32),
        would_defer: flags & WOULD_DEFER != 0,
        by: match by {
            0 => None,
            MESSAGE => Some(Matched::Message),
            SENDER => Some(Matched::Sender),
            by => By::ALL.get(usize::from(by) - 1).map(|by| Matched::Identity(*by)),
        },
        sender: Vec::new(),
        recipient: Vec::new(),
        identities: Vec::new(),
        cut: flags & CUT != 0,
    };
    let mut reader = Decoder(texts.get(..length)?);
    if !reader.0.is_empty() {
        [noted.sender, noted.recipient] = [reader.text()?.to_vec(), reader.text()?.to_vec()];
    }
    while let Some([by]) = reader.array() {
        noted.identities.push((*By::ALL.get(usize::from(by))?, reader.text()?.to_vec()));
    }
    Some(noted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ClientNetwork, Domain, Identity};
    use crate::memory::Access;
    use crate::rules::Rules;
    use crate::sender::Level;
    use crate::settings::StoreSettings;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn store(privacy: bool) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings { path: dir.path().into(), privacy, ..StoreSettings::default() };
        let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
        (dir, store)
    }

    fn triplet<'a>(sender: &'a [u8], recipient: &[u8]) -> Triplet<'a> {
        let network = ClientNetwork::new("192.0.2.0".parse().unwrap(), 24);
        let identities =
            vec![Identity::Network(network), Identity::Spf(Domain::parse(b"x.example").unwrap())];
        Triplet::new(identities, sender, recipient, b"", Level::Full)
    }

    fn reply() -> Reply {
        Reply { wait: Some(Seconds(300)), ..Reply::new(Reason::New) }
    }

    /// What is decided while somebody watches is told once, in order, with its texts.
    #[test]
    fn what_is_decided_is_told_once() {
        let (_dir, store) = store(false);
        store.note(&triplet(b"before@x.example", b"b@y.example"), &reply(), NOW);
        let mut watch = Watch::begin(&store, NOW).unwrap();
        assert_eq!(watch.take(&store), (vec![], 0));
        let retried = Reply {
            delay: Some(Seconds(u32::MAX)),
            by: Some(Matched::Identity(By::Spf)),
            ..Reply::new(Reason::Retried)
        };
        let observed = Reply { would: Some(crate::reply::Action::Defer), ..reply() };
        store.note(&triplet(b"a \n\xff@x.example", b"b@y.example"), &observed, NOW);
        store.note(&triplet(b"", b"b@y.example"), &retried, NOW.plus(Seconds(3)));
        let rules = Rules { trap_time: Seconds(7), ..Rules::default() };
        store.note_trap(&Question { triplet: &triplet(b"", b""), rules: &rules, now: NOW });
        let (taken, missed) = watch.take(&store);
        let first = Noted {
            time: NOW,
            reason: Some(Reason::New),
            seconds: Seconds(300),
            would_defer: true,
            by: None,
            sender: b"a \n\xff@x.example".to_vec(),
            recipient: b"b@y.example".to_vec(),
            identities: vec![(By::Network, b"192.0.2.0/24".to_vec()), (By::Spf, b"x.example".to_vec())],
            cut: false,
        };
        let second = Noted {
            time: NOW.plus(Seconds(3)),
            reason: Some(Reason::Retried),
            seconds: Seconds(u32::MAX),
            would_defer: false,
            by: Some(Matched::Identity(By::Spf)),
            sender: vec![],
            ..first.clone()
        };
        assert_eq!((&taken[..2], missed), (&[first, second][..], 0));
        assert_eq!((taken[2].reason, taken[2].seconds, taken.len()), (None, Seconds(7), 3));
        assert_eq!(watch.take(&store), (vec![], 0));
    }

    /// Nobody who has gone is written for, nor one from before the clock was set back.
    #[test]
    fn nothing_is_noted_where_nobody_watches() {
        let (_dir, store) = store(false);
        let mut watch = Watch::begin(&store, NOW).unwrap();
        for time in [NOW.0 + 4, NOW.0 - 60] {
            store.note(&triplet(b"a@x.example", b"b@y.example"), &reply(), Timestamp(time));
        }
        assert_eq!(watch.take(&store), (vec![], 0));
        assert!(watch.go_on(&store, NOW.plus(Seconds(3))));
        store.note(&triplet(b"a@x.example", b"b@y.example"), &reply(), NOW.plus(Seconds(4)));
        assert_eq!(watch.take(&store).0.len(), 1);
    }

    /// Who looks too seldom is told how much he has missed, and sees the rest.
    #[test]
    fn what_was_written_over_is_counted() {
        let (_dir, store) = store(false);
        let mut watch = Watch::begin(&store, NOW).unwrap();
        for number in 0..PLACES as u32 + 7 {
            let reply = Reply { wait: Some(Seconds(number)), ..Reply::new(Reason::New) };
            store.note(&triplet(b"a@x.example", b"b@y.example"), &reply, NOW);
        }
        let (taken, missed) = watch.take(&store);
        assert_eq!((taken.len(), missed, taken[0].seconds), (PLACES, 7, Seconds(7)));
    }

    /// One that somebody is writing is told at the next look; one whose writer has died is missed.
    #[test]
    fn what_is_half_written_is_waited_for_once() {
        let (_dir, store) = store(false);
        let mut watch = Watch::begin(&store, NOW).unwrap();
        for dies in [false, true] {
            let before = watch.next;
            for _ in 0..2 {
                store.note(&triplet(b"a@x.example", b"b@y.example"), &reply(), NOW);
            }
            let place = store.state.as_deref().unwrap().place(before as usize % PLACES, false).unwrap();
            let written = place[0].swap(0, Relaxed);
            assert_eq!(watch.take(&store), (vec![], 0));
            place[0].store(if dies { 0 } else { written }, Relaxed);
            let (taken, missed) = watch.take(&store);
            assert_eq!((taken.len(), missed), if dies { (1, 1) } else { (2, 0) });
        }
    }

    /// The longest addresses fit, cut; with `privacy` none is written at all.
    #[test]
    fn long_texts_are_cut_and_private_ones_left_out() {
        for privacy in [false, true] {
            let (dir, store) = store(privacy);
            let mut watch = Watch::begin(&store, NOW).unwrap();
            let long = [vec![b'l'; 600], b"@x.example".to_vec()].concat();
            store.note(&triplet(&long, &long), &reply(), NOW);
            let (taken, _) = watch.take(&store);
            let lengths = [taken[0].sender.len(), taken[0].recipient.len(), taken[0].identities.len()];
            assert_eq!(
                (lengths, taken[0].cut),
                if privacy { ([0; 3], false) } else { ([150, 100, 2], true) }
            );
            let bytes = std::fs::read(dir.path().join("state")).unwrap();
            assert_eq!(bytes.windows(5).any(|window| window == b"lllll"), !privacy);
        }
    }
}
