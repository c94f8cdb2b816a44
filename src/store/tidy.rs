//! Tidying: whoever writes a record looks at its page now and then, deletes what has expired there, and makes
//! room in a table that is full. So a store needs no other process to stay small.

use super::record::{self, Neighbour, Stake};
use super::transaction::{Writer, optional};
use crate::time::{Seconds, Timestamp};
use crate::triplet::Key;
use lmdb::{Cursor, Transaction};

/// What a table may hold, and by what time.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// What expired before that goes.
    pub now: Timestamp,
    /// The most records.
    pub most: u64,
}

impl Writer<'_> {
    /// Tidies the page that holds `key`, which this transaction has dirtied already: neighbours that have
    /// expired go, and where the table holds more records than it may, others of the page. One insert in four
    /// does it, and looks at four times as many: keys are random, so their bits are as good as dice.
    ///
    /// `false`: there is one too many, and none on the page may go.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn tidy(&mut self, key: &Key, bound: Bound) -> lmdb::Result<bool> {
        let records = self.txn.stat(self.db)?.entries() as u64;
        let over = records.saturating_sub(bound.most);
        if over == 0 && key.0.last().is_none_or(|byte| byte % 4 != 0) {
            return Ok(true);
        }
        let mut page = Vec::with_capacity(64);
        let mut gone = 0;
        for record in self.page_of(key)? {
            let (Key(other), neighbour) = record;
            if neighbour.expires < bound.now && other != key.0 {
                self.tidy_away(&other, true)?;
                gone += 1;
            } else {
                page.push(record);
            }
        }
        // A call writes as many as two records and tidies once.
        while gone < over.min(2) {
            let mut out = crowded_out(&page, key, bound.now);
            // One sender and recipient may have this page for themselves, and no crowd be on it by chance.
            if out.is_none_or(|out| out.crowd < 2) {
                out = out.max(crowded_out(&self.page_of(&another(key))?, key, bound.now));
            }
            let Some(out) = out else { break };
            self.tidy_away(&out.key.0, false)?;
            page.retain(|(key, _)| *key != out.key);
            gone += 1;
        }
        Ok(over == 0 || gone > 0)
    }

    /// The records of the page that holds `key`, or the next one behind it.
    fn page_of(&mut self, key: &Key) -> lmdb::Result<Vec<(Key, Neighbour)>> {
        let mut found = Vec::with_capacity(64);
        let cursor = self.txn.open_rw_cursor(self.db)?;
        let own = optional(cursor.get(Some(&key.0), None, lmdb_sys::MDB_SET_RANGE))?;
        let Some((_, own)) =
            own.map_or_else(|| optional(cursor.get(None, None, lmdb_sys::MDB_LAST)), |own| Ok(Some(own)))?
        else {
            return Ok(found);
        };
        // A value that lies further away than a page is long is on another page.
        let elsewhere = |value: &[u8]| value.as_ptr().addr().abs_diff(own.as_ptr().addr()) >= PAGE;
        let step = |direction| optional(cursor.get(None, None, direction));
        while let Some((_, value)) = step(lmdb_sys::MDB_PREV)? {
            if elsewhere(value) {
                break;
            }
        }
        // Now before the page, or on its first record if it is the first page.
        let mut item = step(lmdb_sys::MDB_GET_CURRENT)?;
        let mut on_page = false;
        while let Some((Some(other), value)) = item {
            if !elsewhere(value) {
                on_page = true;
                if let (Ok(other), Some(neighbour)) = (other.try_into(), record::neighbour(value)) {
                    found.push((Key(other), neighbour));
                }
            } else if on_page {
                break;
            }
            item = step(lmdb_sys::MDB_NEXT)?;
        }
        Ok(found)
    }
}

/// The records of all identities of a sender and recipient begin with the same half of a key.
fn shares_pair(Key(one): &Key, Key(other): &Key) -> bool {
    one.first_chunk::<8>() == other.first_chunk()
}

/// Where another page may lie: the half of a key that differs among those of one pair comes first.
fn another(key: &Key) -> Key {
    let mut other = *key;
    other.0.rotate_left(8);
    other
}

/// LMDB's page size is the system's; a larger one than this only makes tidying look at fewer neighbours.
const PAGE: usize = 4096;

/// How long a first attempt is kept, however full the table: its delay, and so long again, but an hour at
/// least. Servers come back within half an hour (RFC 5321 section 4.5.4.1), those that wait longer each time
/// within twice the time that they have waited.
const TO_COME_BACK: Seconds = Seconds::HOUR;

/// A time so far ahead was written before the clock was set back, and says nothing.
const AHEAD: Seconds = Seconds::DAY;

fn may_still_come_back(first_seen: Timestamp, ripe: Timestamp, now: Timestamp) -> bool {
    first_seen <= now.plus(AHEAD) && now <= ripe.plus(ripe.since(first_seen).max(TO_COME_BACK))
}

/// A record that goes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Out {
    /// How many first attempts of its network the page has.
    crowd: usize,
    /// Which of the crowd.
    turn: u32,
    key: Key,
}

/// Which of a page's records goes for that of `key`, when the table is full.
///
/// Of first attempts only those that have had their time to come back. Those of the same sender and recipient
/// first, and the newest of them, but not their oldest that is not used up, which says since when their sender
/// has tried: so who forges attempts for others takes one place more than his own. Then the oldest of the client network that has most of them here. Keys are hashes, so a page is a fair sample: a network
/// whose flood fills the table fills the page, and the first attempts of others stay.
///
/// Of what is known, what has been silent longest.
fn crowded_out(page: &[(Key, Neighbour)], key: &Key, now: Timestamp) -> Option<Out> {
    let crowd = |of: u32| {
        let same =
            |(_, n): &&(Key, Neighbour)| matches!(n.stake, Stake::Waits { network, .. } if network == of);
        page.iter().filter(same).count()
    };
    let since = |(other, neighbour): &(Key, Neighbour)| match neighbour.stake {
        Stake::Waits { first_seen, counts_elsewhere: true, .. }
            if other != key && shares_pair(other, key) =>
        {
            Some(first_seen)
        }
        _ => None,
    };
    let oldest = page.iter().filter_map(since).min();
    let rank = |(other, neighbour): &(Key, Neighbour)| match neighbour.stake {
        _ if other == key => None,
        Stake::Waits { first_seen, ripe, .. } if may_still_come_back(first_seen, ripe, now) => None,
        Stake::Waits { first_seen, .. } if shares_pair(other, key) && Some(first_seen) != oldest => {
            Some((usize::MAX, first_seen.0))
        }
        Stake::Waits { network, first_seen, .. } => Some((crowd(network), u32::MAX - first_seen.0)),
        Stake::Known(_) if shares_pair(other, key) => None,
        Stake::Known(seen) if seen > now.plus(AHEAD) => Some((0, u32::MAX)),
        Stake::Known(seen) => Some((0, u32::MAX - seen.0)),
        Stake::Stays => None,
    };
    let out =
        |record: &(Key, Neighbour)| rank(record).map(|(crowd, turn)| Out { crowd, turn, key: record.0 });
    page.iter().filter_map(out).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const OWN: Key = Key([9; 16]);

    fn waits(first_seen: u32, network: u32) -> Stake {
        let first_seen = Timestamp(first_seen);
        Stake::Waits { network, first_seen, ripe: first_seen.plus(Seconds(300)), counts_elsewhere: true }
    }

    /// Which of these goes, whose keys are numbered behind `pair`.
    fn out_of(pair: u8, stakes: &[Stake]) -> Option<usize> {
        let key = |place: usize| Key([[pair; 8], [place as u8; 8]].concat().try_into().unwrap());
        let record =
            |(place, stake): (usize, &Stake)| (key(place), Neighbour { expires: NOW, stake: *stake });
        let page: Vec<_> = stakes.iter().enumerate().map(record).collect();
        crowded_out(&page, &OWN, NOW).map(|out| usize::from(out.key.0[15]))
    }

    fn out(stakes: &[Stake]) -> Option<usize> {
        out_of(1, stakes)
    }

    #[test]
    fn the_oldest_goes_when_no_network_stands_out() {
        assert_eq!(out(&[waits(5, 1), waits(3, 2), waits(4, 3)]), Some(1));
        assert_eq!(out(&[waits(1, 1), waits(6, 2), waits(5, 2)]), Some(2));
        assert_eq!(out(&[Stake::Stays]), None);
    }

    /// Five minutes to wait, and an hour; or two hours, and two hours.
    #[test]
    fn who_may_still_come_back_stays() {
        assert_eq!(out(&[waits(NOW.0 - 3_900, 1)]), None);
        assert_eq!(out(&[waits(NOW.0 - 3_901, 1)]), Some(0));
        let slow = |since: u32| {
            let first_seen = Timestamp(NOW.0 - since);
            Stake::Waits {
                network: 1,
                first_seen,
                ripe: first_seen.plus(Seconds(7_200)),
                counts_elsewhere: true,
            }
        };
        assert_eq!([out(&[slow(14_400)]), out(&[slow(14_401)])], [None, Some(0)]);
        // From before the clock was set back.
        assert_eq!(out(&[waits(NOW.0 + 90_000, 1)]), Some(0));
    }

    #[test]
    fn of_the_same_sender_and_recipient_the_newest_goes_first() {
        assert_eq!(out_of(9, &[waits(3, 1), waits(7, 2), waits(5, 2)]), Some(1));
    }

    /// It says since when a sender has tried, from whatever networks.
    #[test]
    fn the_oldest_of_the_same_sender_and_recipient_goes_no_sooner_than_others() {
        let record = |key, stake| (Key(key), Neighbour { expires: NOW, stake });
        let pair = |place: u8, stake| record([9, 9, 9, 9, 9, 9, 9, 9, place, 0, 0, 0, 0, 0, 0, 0], stake);
        let used_up = match waits(40, 7) {
            Stake::Waits { network, first_seen, ripe, .. } => {
                Stake::Waits { network, first_seen, ripe, counts_elsewhere: false }
            }
            other => other,
        };
        let mut page = vec![
            record([0; 16], waits(5, 1)),
            record([1; 16], waits(6, 2)),
            record([2; 16], waits(7, 2)),
            pair(3, used_up),
            pair(4, waits(50, 7)),
            pair(5, waits(60, 7)),
        ];
        for gone in [(9, 5), (9, 3), (1, 1), (0, 0)] {
            let out = crowded_out(&page, &OWN, NOW).unwrap();
            assert_eq!((out.key.0[0], out.key.0[8]), gone);
            page.retain(|(key, _)| *key != out.key);
        }
    }

    #[test]
    fn what_has_been_silent_longest_goes_first() {
        let seen = |at| Stake::Known(Timestamp(at));
        assert_eq!(out(&[seen(5), seen(3), seen(NOW.0)]), Some(1));
        assert_eq!(out(&[seen(5), seen(NOW.0 + 90_000)]), Some(1), "nobody knows when");
        assert_eq!(out_of(9, &[seen(5)]), None, "other identities of the same mail");
    }
}
