//! The walk through both trees of a file: the table and the list of free pages.

use super::lost::{Keys, disjoint};
use super::{
    BIG, DEEPEST, DataFile, Head, INTEGER_KEY, LARGEST_MAP, NO_PAGE, Node, OVERFLOW, PAGE_HEAD, Page, Tree,
    WORD, u16_at, word_at,
};
use crate::store::files::UNWRITTEN_PAGES;
use std::cmp::Reverse;
use std::fmt;

/// So many faults are told; the rest is counted.
const FAULTS_TOLD: usize = 5;
/// A larger value is no list of free pages of ours (100 million of them), and no reason to take its memory.
const LARGEST_VALUE: usize = 1 << 30;

/// What a walk found wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The first few, as sentences for people.
    pub told: Vec<String>,
    /// How many there are.
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

/// What a walk has seen.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// What is wrong; nothing in a sound file.
    pub faults: Faults,
    /// How many records it gave.
    pub records: u64,
    /// How many pages of the table it could not read.
    pub lost_pages: u64,
    /// Where records may be missing.
    pub lost: Vec<Keys>,
    /// Whether the root page of the last commit was lost, and it walked through the one before.
    pub older: bool,
}

impl DataFile {
    /// Gives all keys and values of the table that can be read, in the order of the keys.
    pub fn walk(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Walk {
        let heads = self.heads();
        let mut walk = Walk::default();
        for (number, _) in heads.iter().enumerate().filter(|(_, head)| head.is_none()) {
            walk.faults.add(format!("head page {number} makes no sense"));
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
        let seen = vec![false; usize::try_from(self.pages()).unwrap_or(0)];
        let which = Which::Table;
        let mut trees = Trees { data: self, head, which, seen, walk, visit, free: Vec::new() };
        trees.check_head();
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
    which: Which,
    seen: Vec<bool>,
    walk: Walk,
    visit: &'a mut dyn FnMut(&[u8], &[u8]),
    free: Vec<u64>,
}

impl Trees<'_> {
    fn said(&self) -> Tree {
        if self.which == Which::Table { self.head.table } else { self.head.free }
    }

    fn tree(&mut self, which: Which) {
        self.which = which;
        if self.said().root != NO_PAGE {
            self.descend(self.said().root, 1, Keys::default());
        }
    }

    /// Notes a fault, so many lost pages, and that records with `keys` may be lost.
    fn lose(&mut self, keys: &Keys, pages: u64, why: String) {
        self.walk.faults.add(why);
        if self.which == Which::Table {
            self.walk.lost_pages += pages;
            self.walk.lost.push(keys.clone());
        }
    }

    /// Marks a page as used; says whether it is in the file and was not used yet.
    fn take(&mut self, number: u64) -> bool {
        let seen = usize::try_from(number).ok().and_then(|number| self.seen.get_mut(number));
        seen.is_some_and(|seen| !std::mem::replace(seen, true))
    }

    fn descend(&mut self, number: u64, depth: usize, keys: Keys) {
        let page = match self.data.page(number, None) {
            _ if depth > DEEPEST => Err(format!("page {number} is too deep")),
            Ok(_) if !self.take(number) => Err(format!("page {number} is used twice")),
            other => other,
        };
        let page = match page {
            Ok(page) => page,
            Err(why) => return self.lose(&keys, 1, why),
        };
        if number > self.head.last_page {
            self.walk.faults.add(format!("page {number} is behind the last one"));
        }
        if !page.dense() {
            self.lose(&keys, 0, format!("page {number} holds something else than its records"));
        }
        if page.leaf {
            let said = self.said().depth;
            if depth != usize::from(said) {
                self.walk.faults.add(format!("leaf {number} is {depth} deep, where its head says {said}"));
            }
            self.leaf(number, &page, &keys);
        } else {
            // LMDB asserts that of the table alone (mdb.c, mdb_page_search_root).
            if self.which == Which::Table && page.nodes() < 2 {
                self.walk.faults.add(format!("page {number} has one branch"));
            }
            self.branch(number, depth, &page, &keys);
        }
    }

    /// Of two keys out of order nobody can say which is wrong, so all the keys of the page count as lost.
    fn branch(&mut self, number: u64, depth: usize, page: &Page, keys: &Keys) {
        // Where each branch begins. The first begins where this page does, whatever key stands there.
        let mut branches: Vec<(Option<Vec<u8>>, u64)> = Vec::with_capacity(page.nodes());
        let mut bad = 0;
        for index in 0..page.nodes() {
            let last = branches.last().and_then(|(from, _)| from.as_ref());
            let branch = page.node(index).and_then(|node| {
                let follows = |key: &Vec<u8>| keys.hold(key) && last.is_none_or(|last| last < key);
                let from = match index {
                    0 => keys.from.clone(),
                    _ => Some(self.sorted(node.key).filter(follows)?),
                };
                Some((from, node.child()))
            });
            match branch {
                Some(branch) => branches.push(branch),
                None => bad += 1,
            }
        }
        if bad > 0 {
            self.lose(keys, bad, format!("page {number} has {bad} branches that make no sense"));
        }
        let mut branches = branches.into_iter().peekable();
        while let Some((from, child)) = branches.next() {
            let below = branches.peek().map_or_else(|| keys.below.clone(), |(next, _)| next.clone());
            self.descend(child, depth + 1, Keys { from, below });
        }
    }

    fn leaf(&mut self, number: u64, page: &Page, keys: &Keys) {
        let mut last: Option<Vec<u8>> = None;
        let mut bad = 0;
        for index in 0..page.nodes() {
            let read = page.node(index).and_then(|node| {
                let follows = |key: &Vec<u8>| !key.is_empty() && keys.hold(key) && last.as_ref() < Some(key);
                let key = self.sorted(node.key).filter(follows)?;
                let sound = match self.which {
                    Which::Table => node.flags == 0 && node.value().is_some(),
                    Which::Free => matches!(node.flags, 0 | BIG),
                };
                sound.then_some((node, key))
            });
            let Some((node, key)) = read else {
                bad += 1;
                continue;
            };
            match self.which {
                Which::Table => {
                    self.walk.records += 1;
                    (self.visit)(node.key, node.value().unwrap_or_default());
                }
                Which::Free => self.free_pages(number, &node),
            }
            last = Some(key);
        }
        if bad > 0 {
            self.lose(keys, 0, format!("page {number} has {bad} records that make no sense"));
        }
    }

    /// A key in a form whose bytes sort as the tree does.
    fn sorted(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.which {
            Which::Table => Some(key.to_vec()),
            Which::Free => {
                word_at(key, 0).filter(|_| key.len() == WORD).map(|number| number.to_be_bytes().to_vec())
            }
        }
    }

    fn check_head(&mut self) {
        let (head, there) = (self.head, self.data.pages());
        let faults = &mut self.walk.faults;
        if (head.table.flags, head.free.flags) != (0, INTEGER_KEY) {
            faults.add("a table has flags that are not its own");
        }
        if head.map > LARGEST_MAP {
            faults.add(format!("the file shall be mapped with {} bytes", head.map));
        }
        if head.last_page.saturating_add(1) > there.saturating_add(UNWRITTEN_PAGES) {
            faults.add(format!("the file ends after {there} pages, and its head says {}", head.last_page));
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

    /// LMDB will overwrite a page that is free. Those at the end need not be in the file.
    fn check_free_pages(&mut self) {
        let pages = self.data.pages();
        for page in std::mem::take(&mut self.free) {
            if page < pages && !self.take(page) {
                self.walk.faults.add(format!("page {page} is in use and free, or free twice"));
            }
        }
    }
}
