//! Tidying: whoever writes a record looks at its page now and then, deletes what has expired there, and makes
//! room in a table that is full. So a store needs no other process to stay small.

use super::lmdb::{Writer, optional};
use super::record;
use crate::time::Timestamp;
use crate::triplet::Key;
use lmdb::{Cursor, Transaction};

impl Writer<'_> {
    /// Tidies the page that holds `key`, which this transaction has dirtied already: neighbours that have
    /// expired go, and if the table holds more than `most` records, one more. One insert in four does it, and
    /// looks at four times as many: keys are random, so their bits are as good as dice.
    ///
    /// # Errors
    /// What LMDB says.
    pub fn tidy(&mut self, key: &Key, now: Timestamp, most: Option<u64>) -> lmdb::Result<()> {
        let full = match most {
            Some(most) => self.txn.stat(self.db)?.entries() as u64 > most,
            None => false,
        };
        if !full && key.0.last().is_none_or(|byte| byte % 4 != 0) {
            return Ok(());
        }
        let neighbours = self.neighbours(key)?;
        let crowded_out = if full { crowded_out(&neighbours) } else { None };
        for (i, (key, neighbour)) in neighbours.iter().enumerate() {
            if neighbour.expires < now || crowded_out == Some(i) {
                self.delete(&key.0)?;
            }
        }
        Ok(())
    }

    /// The records of the page that holds `key`, but those of its sender and recipient: one mail with many
    /// identities is no crowd, and must not push out its own records. The records of one pair begin with the
    /// same half of a key.
    fn neighbours(&mut self, key: &Key) -> lmdb::Result<Vec<(Key, record::Neighbour)>> {
        let mut found = Vec::with_capacity(64);
        let cursor = self.txn.open_rw_cursor(self.db)?;
        let (_, own) = cursor.get(Some(&key.0), None, lmdb_sys::MDB_SET)?;
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
                if let (Ok(other), Some(neighbour)) = (other.try_into(), record::neighbour(value))
                    && !shares_pair(&other, key)
                {
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

fn shares_pair(one: &[u8; 16], Key(other): &Key) -> bool {
    one.first_chunk::<8>() == other.first_chunk()
}

/// LMDB's page size is the system's; a larger one than this only makes tidying look at fewer neighbours.
const PAGE: usize = 4096;

/// Which of a page's first attempts goes when the table is full: the oldest of the client network that has
/// most of them here. Keys are hashes, so a page is a fair sample: a network whose flood fills the table
/// fills the page, and the first attempts of others stay.
fn crowded_out(neighbours: &[(Key, record::Neighbour)]) -> Option<usize> {
    let crowd = |network| neighbours.iter().filter(|(_, n)| n.network == network).count();
    let candidates = neighbours.iter().enumerate().filter(|(_, (_, n))| n.network.is_some());
    candidates
        .max_by_key(|(_, (_, n))| (crowd(n.network), std::cmp::Reverse(n.first_seen)))
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_no_network_stands_out() {
        let neighbour = |first_seen, network| {
            (
                Key([1; 16]),
                record::Neighbour { expires: Timestamp(9), first_seen: Timestamp(first_seen), network },
            )
        };
        assert_eq!(
            crowded_out(&[neighbour(5, Some(1)), neighbour(3, Some(2)), neighbour(4, Some(3))]),
            Some(1)
        );
        assert_eq!(
            crowded_out(&[neighbour(1, Some(1)), neighbour(6, Some(2)), neighbour(5, Some(2))]),
            Some(2)
        );
        assert_eq!(crowded_out(&[neighbour(1, None)]), None);
    }
}
