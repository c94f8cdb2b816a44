//! Reads LMDB's data file without LMDB, which has no checksums and crashes over a damaged one. Here every number of the file
//! is checked before it is used, and a page that makes no sense is one that was lost. No unsafe code, no mapping.
//!
//! - [`DataFile::walk`] follows the tree of the newest head page whose root makes sense: what it gives is the table. It tells what
//!   LMDB would stumble over, in the list of free pages too, and the ranges of keys that it could not read.
//! - [`DataFile::sweep`] looks for records of those ranges in every page of the file that looks like a leaf: LMDB copies a page
//!   before it changes it, so an older copy of a lost page is often there.
//!
//! What a sweep finds may have been deleted since. A known triplet, an identity, a leave, a release or an entry of the
//! whitelist that comes back lets mail pass that would have waited, and expires; a trap would hold back mail, so
//! whoever repairs leaves traps alone. Outside the lost ranges nothing comes back, but what is as new as the newest record where
//! the root page of the last commit was lost.
//!
//! The layout is that of mdb.c in LMDB 0.9.24 (MDB_page, MDB_node, MDB_db, MDB_meta), in the host's byte order and word size.
//! The table has small records without duplicates; only the list of free pages has values on pages of their own.

use std::cmp::Reverse;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

const WORD: usize = size_of::<usize>();
/// A page begins with its number, padding, flags, and the bounds of its free space (or a count of overflow pages).
const PAGE_HEAD: usize = WORD + 8;
/// A node begins with the size of its value (or a page's number), flags, and the size of its key.
const NODE_HEAD: usize = 8;
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const META: u16 = 8;
/// The value is on overflow pages.
const BIG: u16 = 1;
/// The keys of the list of free pages are numbers.
const INTEGER_KEY: u16 = 8;
/// No root: the tree is empty.
const NO_PAGE: u64 = usize::MAX as u64;
/// LMDB's cursors go no deeper (CURSOR_STACK).
const DEEPEST: usize = 32;
/// A page's size is a power of two from 256 on, and at most 64 KiB (MAX_PAGESIZE).
const PAGE_SIZES: RangeInclusive<usize> = 256..=65_536;
/// A sound file may lack so many pages at its end: see `files.rs`.
const UNWRITTEN_PAGES: u64 = 64;
/// 16 TiB: no store is so large, and a process has little more room for maps.
const LARGEST_MAP: u64 = 1 << 44;
/// So many faults are told; the rest is counted.
const FAULTS_TOLD: usize = 5;
/// A larger value is no list of free pages of ours (100 million of them), and no reason to take its memory.
const LARGEST_VALUE: usize = 1 << 30;

/// What a walk found wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The first few, for people.
    pub told: Vec<String>,
    /// All.
    pub count: u64,
}

impl Faults {
    fn add(&mut self, text: impl Into<String>) {
        self.count += 1;
        if self.told.len() < FAULTS_TOLD {
            self.told.push(text.into());
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told.join("; "))?;
        match self.count.saturating_sub(self.told.len() as u64) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Keys from the first on, and below the second; none means no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    from: Option<Vec<u8>>,
    below: Option<Vec<u8>>,
}

impl Keys {
    fn hold(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| from <= key)
            && self.below.as_deref().is_none_or(|below| key < below)
    }
}

/// What a walk came to.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// What is wrong; nothing in a sound file.
    pub faults: Faults,
    /// Records given.
    pub records: u64,
    /// Pages of the table that could not be read.
    pub lost_pages: u64,
    /// Where records may be missing.
    pub lost: Vec<Keys>,
    /// The table is that of the commit before the last, whose root page was lost.
    pub older: bool,
}

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
    /// Opens `path`, which must be a regular file.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
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

    /// The file's state as its head pages tell it. A walk between two that are the same has seen one state: LMDB never writes to
    /// the pages of the last commit.
    #[must_use]
    pub fn state(&self) -> impl PartialEq + use<> {
        self.heads()
    }

    /// Gives every key and value of the table that can be read, in the order of the keys.
    pub fn walk(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Walk {
        let heads = self.heads();
        let mut walk = Walk::default();
        for (number, head) in heads.iter().enumerate().filter(|(_, head)| head.is_none()) {
            walk.faults.add(format!("head page {number} is none: {head:?}"));
        }
        let mut found: Vec<Head> = heads.into_iter().flatten().collect();
        found.sort_by_key(|head| Reverse(head.transaction));
        let sound = |head: &&Head| head.table.root == NO_PAGE || self.page(head.table.root, None).is_ok();
        let newest = found.first();
        let Some(head) = found.iter().find(sound).or(newest).copied() else {
            walk.lost = vec![Keys::default()];
            return walk;
        };
        walk.older = newest != Some(&head);
        if walk.older {
            walk.faults.add("the newest root page is lost; that of the commit before is there");
        }
        self.check_head(&head, &mut walk.faults);

        let pages = self.pages();
        let mut trees = Trees {
            data: self,
            head,
            seen: vec![false; usize::try_from(pages).unwrap_or(0)],
            walk,
            visit,
            free: Vec::new(),
        };
        trees.tree(Which::Table);
        let (there, said) = (trees.walk.records, head.table.entries);
        if trees.walk.lost.is_empty() && there != said {
            trees.walk.faults.add(format!("{there} records where its head says {said}"));
            if there < said {
                trees.walk.lost.push(Keys::default());
            }
        }
        trees.walk.lost = disjoint(std::mem::take(&mut trees.walk.lost));
        trees.tree(Which::Free);
        trees.check_free_pages();
        trees.walk
    }

    /// Gives the records with keys in `lost` that stand in any page that looks like a leaf. A key may come more than once.
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

    fn check_head(&self, head: &Head, faults: &mut Faults) {
        if (head.table.flags, head.free.flags) != (0, INTEGER_KEY) {
            faults.add("a table has flags that are not its own");
        }
        if head.map > LARGEST_MAP {
            faults.add(format!("the file shall be mapped with {} bytes", head.map));
        }
        if head.last_page.saturating_add(1) > self.pages().saturating_add(UNWRITTEN_PAGES) {
            let (last, there) = (head.last_page, self.pages());
            faults.add(format!("the file ends after {there} pages, and its head says {last}"));
        }
    }

    /// A branch or leaf (or only `kind`) that makes sense as page `number`.
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

    /// Whether the nodes fill the space behind the free one, as LMDB keeps it: else some are not seen.
    fn dense(&self) -> bool {
        let size = |node: Node<'_>| {
            let value = match node.flags {
                _ if !self.leaf => 0,
                BIG => WORD,
                _ => node.value()?.len(),
            };
            Some(even(NODE_HEAD + node.key.len() + value))
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

/// Nodes begin at even places.
const fn even(size: usize) -> usize {
    size.next_multiple_of(2)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Table,
    Free,
}

/// A walk under way.
struct Trees<'a> {
    data: &'a DataFile,
    head: Head,
    seen: Vec<bool>,
    walk: Walk,
    visit: &'a mut dyn FnMut(&[u8], &[u8]),
    free: Vec<u64>,
}

impl Trees<'_> {
    fn tree(&mut self, which: Which) {
        let tree = if which == Which::Table { self.head.table } else { self.head.free };
        if tree.root != NO_PAGE {
            self.descend(which, tree.root, 1, Keys::default());
        }
    }

    fn lose(&mut self, which: Which, keys: Keys, why: String) {
        self.walk.faults.add(why);
        if which == Which::Table {
            self.walk.lost.push(keys);
        }
    }

    /// Marks a page as in use; says whether it was in the file and free to be.
    fn take(&mut self, number: u64) -> bool {
        let seen = usize::try_from(number).ok().and_then(|number| self.seen.get_mut(number));
        seen.is_some_and(|seen| !std::mem::replace(seen, true))
    }

    fn descend(&mut self, which: Which, number: u64, depth: usize, keys: Keys) {
        let page = match self.data.page(number, None) {
            _ if depth > DEEPEST => Err(format!("page {number} is too deep")),
            Ok(_) if !self.take(number) => Err(format!("page {number} is used twice")),
            other => other,
        };
        let page = match page {
            Ok(page) => page,
            Err(why) => {
                self.walk.lost_pages += u64::from(which == Which::Table);
                return self.lose(which, keys, why);
            }
        };
        if number > self.head.last_page {
            self.walk.faults.add(format!("page {number} is behind the last one"));
        }
        if !page.dense() {
            self.lose(which, keys.clone(), format!("page {number} holds something else than its records"));
        }
        if page.leaf {
            let said = if which == Which::Table { self.head.table.depth } else { self.head.free.depth };
            if depth != usize::from(said) {
                self.walk.faults.add(format!("leaf {number} is {depth} deep, where its head says {said}"));
            }
            self.leaf(which, number, &page, &keys);
        } else {
            // LMDB asserts it, but not of the list of free pages (mdb.c, mdb_page_search_root).
            if which == Which::Table && page.nodes() < 2 {
                self.walk.faults.add(format!("page {number} has one branch"));
            }
            self.branch(which, number, depth, &page, &keys);
        }
    }

    /// Where a key is out of order, nobody can say which one is wrong: the whole range of the page counts as lost.
    fn branch(&mut self, which: Which, number: u64, depth: usize, page: &Page, keys: &Keys) {
        // Where each branch begins; that of the first is what leads here, whatever stands there.
        let mut branches: Vec<(Option<Vec<u8>>, u64)> = Vec::with_capacity(page.nodes());
        let mut bad = 0;
        for index in 0..page.nodes() {
            let last = branches.last().map_or(&keys.from, |(from, _)| from);
            let from = match page.node(index) {
                Some(_) if index == 0 => Some(keys.from.clone()),
                Some(node) => sorted(which, node.key)
                    .filter(|key| keys.hold(key) && last.as_ref().is_none_or(|last| last < key))
                    .map(Some),
                None => None,
            };
            match from.zip(page.node(index)) {
                Some((from, node)) => branches.push((from, node.child())),
                None => bad += 1,
            }
        }
        if bad > 0 {
            self.walk.lost_pages += if which == Which::Table { bad } else { 0 };
            self.lose(which, keys.clone(), format!("page {number} has {bad} branches that make no sense"));
        }
        let mut branches = branches.into_iter().peekable();
        while let Some((from, child)) = branches.next() {
            let below = branches.peek().map_or_else(|| keys.below.clone(), |(next, _)| next.clone());
            self.descend(which, child, depth + 1, Keys { from, below });
        }
    }

    fn leaf(&mut self, which: Which, number: u64, page: &Page, keys: &Keys) {
        let mut last: Option<Vec<u8>> = None;
        let mut bad = 0;
        for index in 0..page.nodes() {
            let read = page.node(index).and_then(|node| {
                let fits = |key: &Vec<u8>| !key.is_empty() && keys.hold(key) && last.as_ref() < Some(key);
                let key = sorted(which, node.key).filter(fits)?;
                let sound = match which {
                    Which::Table => node.flags == 0 && node.value().is_some(),
                    Which::Free => matches!(node.flags, 0 | BIG),
                };
                sound.then_some((node, key))
            });
            let Some((node, key)) = read else {
                bad += 1;
                continue;
            };
            match which {
                Which::Table => {
                    self.walk.records += 1;
                    (self.visit)(node.key, node.value().unwrap_or_default());
                }
                Which::Free => self.free_pages(number, &node),
            }
            last = Some(key);
        }
        if bad > 0 {
            self.lose(which, keys.clone(), format!("page {number} has {bad} records that make no sense"));
        }
    }

    /// A value of the list of free pages: how many, and their numbers, each below the one before.
    fn free_pages(&mut self, number: u64, node: &Node<'_>) {
        let value = if node.flags == BIG { self.big_value(node) } else { node.value().map(<[u8]>::to_vec) };
        let list: Option<Vec<u64>> = value.and_then(|bytes| {
            let words: Vec<u64> = bytes.chunks_exact(WORD).filter_map(|word| word_at(word, 0)).collect();
            let (count, pages) = words.split_first()?;
            let last = self.head.last_page;
            let sound = pages.len() as u64 == *count
                && bytes.len() % WORD == 0
                && pages.is_sorted_by(|a, b| a > b)
                && pages.iter().all(|page| (2..=last).contains(page));
            sound.then(|| pages.to_vec())
        });
        match list {
            Some(pages) => self.free.extend(pages),
            None => {
                self.walk.faults.add(format!("page {number} has a list of free pages that makes no sense"))
            }
        }
    }

    fn big_value(&mut self, node: &Node<'_>) -> Option<Vec<u8>> {
        let (first, size) = (word_at(node.rest, 0)?, usize::try_from(node.number).ok()?);
        let page_size = self.data.page_size;
        let pages = (PAGE_HEAD + size).div_ceil(page_size) as u64;
        let at = first.checked_mul(page_size as u64)?;
        let head = self.data.read(at, PAGE_HEAD).filter(|_| first >= 2 && size <= LARGEST_VALUE)?;
        let sound = word_at(&head, 0)? == first && u16_at(&head, WORD + 2)? == OVERFLOW;
        if !sound || at.checked_add(size as u64)? > self.data.size {
            return None;
        }
        if !(first..first.checked_add(pages)?).all(|page| self.take(page)) {
            return None;
        }
        self.data.read(at + PAGE_HEAD as u64, size)
    }

    /// A free page that is in use, or free twice, is overwritten some day. Free pages at the end may not be in the file.
    fn check_free_pages(&mut self) {
        let pages = self.data.pages();
        for page in std::mem::take(&mut self.free) {
            if page < pages && !self.take(page) {
                self.walk.faults.add(format!("page {page} is in use and free, or free twice"));
            }
        }
    }
}

/// The same ranges, in order, without overlap.
fn disjoint(mut ranges: Vec<Keys>) -> Vec<Keys> {
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

/// A key in a form whose bytes sort as the table does.
fn sorted(which: Which, key: &[u8]) -> Option<Vec<u8>> {
    match which {
        Which::Table => Some(key.to_vec()),
        Which::Free => {
            word_at(key, 0).filter(|_| key.len() == WORD).map(|number| number.to_be_bytes().to_vec())
        }
    }
}

// LMDB writes numbers as the machine has them.

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
#[path = "salvage_tests.rs"]
mod tests;
