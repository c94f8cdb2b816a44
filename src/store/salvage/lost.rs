//! Ranges of keys that were lost, and what other pages still hold of them.

use super::{DataFile, LEAF};

/// A range of keys, from the first on and below the second; `None` is no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub(super) from: Option<Vec<u8>>,
    pub(super) below: Option<Vec<u8>>,
}

impl Keys {
    pub(super) fn hold(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| from <= key)
            && self.below.as_deref().is_none_or(|below| key < below)
    }
}

impl DataFile {
    /// Gives the records with keys in `lost` from every page that looks like a leaf, so a key may come twice.
    pub fn sweep(&self, lost: &[Keys], visit: &mut dyn FnMut(&[u8], &[u8])) {
        if lost.is_empty() {
            return;
        }
        for number in 2..self.pages() {
            let Ok(page) = self.page(number, Some(LEAF)) else { continue };
            for index in 0..page.nodes() {
                if let Some(node) = page.node(index)
                    && let Some(value) = node.value().filter(|_| node.flags == 0)
                    && is_lost(lost, node.key)
                {
                    visit(node.key, value);
                }
            }
        }
    }
}

/// The same keys, as ranges in order and apart from each other.
pub(super) fn disjoint(mut ranges: Vec<Keys>) -> Vec<Keys> {
    ranges.sort_by(|a, b| a.from.cmp(&b.from));
    let mut merged: Vec<Keys> = Vec::new();
    for keys in ranges {
        match merged.last_mut() {
            Some(last) if last.below.is_none() || keys.from <= last.below => {
                if last.below.is_some() && (keys.below.is_none() || keys.below > last.below) {
                    last.below = keys.below;
                }
            }
            _ => merged.push(keys),
        }
    }
    merged
}

/// Whether one of the ranges, in order, holds `key`.
fn is_lost(lost: &[Keys], key: &[u8]) -> bool {
    let end = lost.partition_point(|keys| keys.from.as_deref().is_none_or(|from| from <= key));
    end.checked_sub(1).and_then(|last| lost.get(last)).is_some_and(|keys| keys.hold(key))
}
