//! Reads LMDB's data file without LMDB, which has no checksums and crashes over a damaged one. Here every
//! number of the file is checked before it is used, and a page that makes no sense counts as lost. No unsafe
//! code, no mapping.
//!
//! - [`DataFile::walk`] gives the records of the newest commit whose root page makes sense. It also tells
//!   what LMDB would stumble over, in the list of free pages, too, and which ranges of keys it could not
//!   read.
//! - [`DataFile::sweep`] looks for records of those ranges in every page that looks like a leaf. LMDB copies
//!   a page before it changes it, so an older copy of a lost page is often there.
//!
//! What a sweep finds may have been deleted since. Most records let mail pass that would have waited, and
//! expire; a trap that comes back would hold back mail, so whoever repairs leaves traps alone. Outside the
//! lost ranges nothing comes back, unless the root page of the last commit was lost: then what is as new as
//! the newest record does.
//!
//! The layout is that of mdb.c in LMDB 0.9.24 (MDB_page, MDB_node, MDB_db, MDB_meta), in the machine's byte
//! order and word size. Our records are small and have no duplicates: values on pages of their own are in the
//! list of free pages only.

mod lost;
mod walk;

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

pub use lost::Keys;
pub use walk::{Faults, Walk};

const WORD: usize = size_of::<usize>();
/// A page begins with its number, padding, flags, and the bounds of its free space (or a count of pages).
const PAGE_HEAD: usize = WORD + 8;
/// A node begins with the size of its value (or a page's number), flags, and the size of its key.
const NODE_HEAD: usize = 8;
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const META: u16 = 8;
/// The node's value is on overflow pages.
const BIG: u16 = 1;
/// The keys of the list of free pages are numbers.
const INTEGER_KEY: u16 = 8;
/// No root: the tree is empty.
const NO_PAGE: u64 = usize::MAX as u64;
/// LMDB's cursors go no deeper (CURSOR_STACK).
const DEEPEST: usize = 32;
/// A page's size is a power of two from 256 on, and at most 64 KiB (MAX_PAGESIZE).
const PAGE_SIZES: RangeInclusive<usize> = 256..=65_536;
/// 16 TiB: no store is so large, and a process has little more room for maps.
const LARGEST_MAP: u64 = 1 << 44;

/// A tree, as a head page describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tree {
    flags: u16,
    depth: u16,
    entries: u64,
    root: u64,
}

/// A head page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    page_size: usize,
    map: u64,
    free: Tree,
    table: Tree,
    last_page: u64,
    transaction: u64,
}

/// The data file of an environment.
pub struct DataFile {
    file: File,
    size: u64,
    page_size: usize,
}

impl DataFile {
    /// Opens `path`, without waiting.
    ///
    /// # Errors
    /// What the system says, or that it is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
        }
        let mut data = Self { file, size: meta.len(), page_size: 4_096 };
        // The second head page stands behind the first, so either tells the size of pages.
        let places = [0].into_iter().chain((8..=16).map(|bits| 1_u64 << bits));
        let head = places.filter_map(|at| data.head_at(at).map(|head| (at, head)));
        let fits = |(at, head): &(u64, Head)| *at == 0 || *at == head.page_size as u64;
        if let Some((_, head)) = head.into_iter().find(fits) {
            data.page_size = head.page_size;
        }
        Ok(data)
    }

    /// What the head pages say. If it is the same before and after a walk, the walk has seen one commit: LMDB
    /// never writes to the pages of the last one.
    #[must_use]
    pub fn state(&self) -> impl PartialEq + use<> {
        self.heads()
    }

    fn pages(&self) -> u64 {
        self.size / self.page_size as u64
    }

    fn read(&self, at: u64, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    }

    fn heads(&self) -> [Option<Head>; 2] {
        [0, self.page_size as u64].map(|at| self.head_at(at).filter(|head| head.page_size == self.page_size))
    }

    fn head_at(&self, at: u64) -> Option<Head> {
        let bytes = self.read(at, PAGE_HEAD + 8 + 2 * WORD + 2 * (8 + 5 * WORD) + 2 * WORD)?;
        let (head, rest) = bytes.split_at_checked(PAGE_HEAD)?;
        let flags = u16_at(head, WORD + 2)?;
        let (magic, version) = (u32_at(rest, 0)?, u32_at(rest, 4)?);
        if flags & META == 0 || magic != MAGIC || version != VERSION {
            return None;
        }
        let trees = rest.get(8 + 2 * WORD..)?;
        let tree = |at: usize| {
            let bytes = trees.get(at..)?;
            Some(Tree {
                flags: u16_at(bytes, 4)?,
                depth: u16_at(bytes, 6)?,
                entries: word_at(bytes, 8 + 3 * WORD)?,
                root: word_at(bytes, 8 + 4 * WORD)?,
            })
        };
        let (first, second) = (0, 8 + 5 * WORD);
        let page_size = usize::try_from(u32_at(trees, first)?).ok()?;
        let tail = 2 * second;
        let fits = PAGE_SIZES.contains(&page_size) && page_size.is_power_of_two();
        fits.then_some(Head {
            page_size,
            map: word_at(rest, 8 + WORD)?,
            free: tree(first)?,
            table: tree(second)?,
            last_page: word_at(trees, tail)?,
            transaction: word_at(trees, tail + WORD)?,
        })
    }

    /// The page, if it makes sense: a branch or a leaf, or only the `kind` asked for.
    fn page(&self, number: u64, kind: Option<u16>) -> Result<Page, String> {
        let fail = |why: &str| Err(format!("page {number} {why}"));
        if !(2..self.pages()).contains(&number) {
            return fail("is not in the file");
        }
        let Some(bytes) = self.read(number * self.page_size as u64, self.page_size) else {
            return fail("cannot be read");
        };
        let number_of = |at| u16_at(&bytes, WORD + at).unwrap_or(0);
        let (flags, lower, upper) = (number_of(2), usize::from(number_of(4)), usize::from(number_of(6)));
        if word_at(&bytes, 0) != Some(number) {
            return fail("has another number");
        }
        if !matches!(flags, BRANCH | LEAF) || kind.is_some_and(|kind| kind != flags) {
            return fail("is of another kind");
        }
        if lower <= PAGE_HEAD || lower % 2 != 0 || lower > upper || upper > self.page_size {
            return fail("has bounds that make no sense");
        }
        Ok(Page { bytes, leaf: flags == LEAF, lower, upper })
    }
}

impl AsFd for DataFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

struct Page {
    bytes: Vec<u8>,
    leaf: bool,
    lower: usize,
    upper: usize,
}

struct Node<'a> {
    /// The size of the value; of a branch the lower half of a page's number.
    number: u32,
    flags: u16,
    key: &'a [u8],
    /// What is behind the key on this page.
    rest: &'a [u8],
}

impl Page {
    fn nodes(&self) -> usize {
        self.lower.saturating_sub(PAGE_HEAD) / 2
    }

    /// Whether the nodes fill what is not free, as LMDB keeps it. Else the page holds some that nobody sees.
    fn dense(&self) -> bool {
        let size = |node: Node<'_>| {
            let value = match node.flags {
                _ if !self.leaf => 0,
                BIG => WORD,
                _ => node.value()?.len(),
            };
            // Nodes begin at even places.
            Some((NODE_HEAD + node.key.len() + value).next_multiple_of(2))
        };
        let sizes: Option<usize> = (0..self.nodes()).map(|index| size(self.node(index)?)).sum();
        sizes == self.bytes.len().checked_sub(self.upper)
    }

    fn node(&self, index: usize) -> Option<Node<'_>> {
        let at = usize::from(u16_at(&self.bytes, PAGE_HEAD + 2 * index)?);
        let (head, rest) = self.bytes.get(at..).filter(|_| at >= self.upper)?.split_at_checked(NODE_HEAD)?;
        let (key, rest) = rest.split_at_checked(u16_at(head, 6)?.into())?;
        Some(Node { number: u32_at(head, 0)?, flags: u16_at(head, 4)?, key, rest })
    }
}

impl<'a> Node<'a> {
    fn value(&self) -> Option<&'a [u8]> {
        self.rest.get(..usize::try_from(self.number).ok()?)
    }

    /// The page that a branch's node leads to.
    fn child(&self) -> u64 {
        let high = if WORD > 4 { u64::from(self.flags) << 32 } else { 0 };
        u64::from(self.number) | high
    }
}

// LMDB writes numbers in the machine's byte order.

#[allow(clippy::host_endian_bytes)]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

#[allow(clippy::host_endian_bytes)]
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[allow(clippy::host_endian_bytes)]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| usize::from_ne_bytes(*bytes) as u64)
}

#[cfg(test)]
mod tests;
