//! Scores the sender normaliser on the corpus; see README.md beside this file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use eximgrey::sender::{Level, SenderKey, normalise};

/// One address of the corpus.
pub struct Row {
    pub stream: &'static str,
    pub address: &'static str,
    pub kind: &'static str,
    pub expectation: &'static str,
    pub recipient: Option<&'static str>,
}

/// How many of how many.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Share {
    pub good: usize,
    pub all: usize,
}

impl Share {
    fn count(&mut self, good: bool) {
        self.good += usize::from(good);
        self.all += 1;
    }

    pub fn percent(self) -> f64 {
        100.0 * self.good as f64 / self.all.max(1) as f64
    }
}

/// The score of one kind of address, or of all.
#[derive(Clone, Copy, Default, Debug)]
pub struct Score {
    /// Streams whose addresses all get one key.
    pub collapsed: Share,
    /// Streams that share no key with anything else.
    pub separate: Share,
    /// Addresses that must stay distinct, and share their key with nothing.
    pub unique: Share,
}

pub fn public() -> Vec<Row> {
    let recipients: HashMap<_, _> =
        include_str!("public-recipients.tsv").lines().filter_map(|line| line.split_once('\t')).collect();
    let mut rows = rows(include_str!("public.tsv"));
    for row in &mut rows {
        row.recipient = recipients.get(row.address).copied();
    }
    rows
}

pub fn soft() -> Vec<Row> {
    rows(include_str!("soft.tsv"))
}

pub fn heldout() -> Vec<Row> {
    rows(include_str!("heldout.tsv"))
}

/// Both parts.
pub fn second() -> Vec<Row> {
    [second_made_with(), second_held_back()].into_iter().flatten().collect()
}

/// What rules were made with.
pub fn second_made_with() -> Vec<Row> {
    rows(include_str!("second.tsv"))
}

/// What was kept from whoever made them, until it was scored.
pub fn second_held_back() -> Vec<Row> {
    rows(include_str!("second-held-back.tsv"))
}

fn rows(text: &'static str) -> Vec<Row> {
    let fields = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    fields
        .map(|fields| Row {
            stream: fields[0],
            address: fields[1],
            kind: fields[2],
            expectation: fields[3],
            recipient: fields.get(4).copied().filter(|&recipient| recipient != "-"),
        })
        .collect()
}

pub fn key(row: &Row, with_recipient: bool) -> SenderKey {
    let recipient = row.recipient.filter(|_| with_recipient).map(str::as_bytes);
    normalise(row.address.as_bytes(), recipient, Level::Full)
}

/// The score of each kind, and overall as the kind `""`.
pub fn score(rows: &[Row], with_recipient: bool) -> BTreeMap<&'static str, Score> {
    let mut streams_of_key: HashMap<SenderKey, HashSet<&str>> = HashMap::new();
    let mut streams: BTreeMap<&str, (&Row, BTreeSet<Vec<u8>>)> = BTreeMap::new();
    for row in rows {
        let key = key(row, with_recipient);
        streams.entry(row.stream).or_insert_with(|| (row, BTreeSet::new())).1.insert(key.as_bytes().to_vec());
        streams_of_key.entry(key).or_default().insert(row.stream);
    }
    let shared: HashSet<&str> =
        streams_of_key.values().filter(|streams| streams.len() > 1).flatten().copied().collect();
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    for (stream, (row, keys)) in streams {
        for kind in [row.kind, ""] {
            let score = scores.entry(kind).or_default();
            if row.expectation == "distinct" {
                score.unique.count(!shared.contains(stream));
            } else {
                score.collapsed.count(keys.len() == 1);
                score.separate.count(!shared.contains(stream));
            }
        }
    }
    scores
}

/// Of the soft corpus: the customers of one bulk mailer, or of one region of it, that share no key.
pub fn accounts_apart() -> Share {
    let rows = soft();
    let accounts = ["account-number-shared", "region-shared"];
    let scores = score(&rows, false);
    accounts.iter().fold(Share::default(), |sum, kind| {
        let Share { good, all } = scores[kind].separate;
        Share { good: sum.good + good, all: sum.all + all }
    })
}
