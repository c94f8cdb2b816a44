//! What became of first attempts, by what was known of them: `eximgrey list learned`, `forget learned` and a table of
//! the report.

use crate::command::{Failure, Outcome, Result};
use crate::filter::Selection;
use crate::rows::{Order, Row, Rows};
use eximgrey::learned::{SignWords, Tried};
use eximgrey::store::Store;
use eximgrey::time::Timestamp;
use serde_json::{Value, json};
use std::io::Write;

/// What became of attempts of one pattern.
#[derive(Clone)]
pub struct Line {
    /// The pattern in words.
    pub pattern: String,
    pub tried: Tried,
}

impl Line {
    /// The share of them that came back; `None` where nothing has ended yet.
    pub fn share(&self) -> Option<f64> {
        let all = self.tried.outcomes();
        (all > 0).then(|| f64::from(self.tried.came_back) / f64::from(all))
    }

    pub fn json(&self) -> Value {
        let Self { pattern, tried } = self;
        let Tried { came_back, stayed_away, spam, waiting } = tried;
        json!({
            "pattern": pattern, "came_back": came_back, "stayed_away": stayed_away, "spam": spam,
            "waiting": waiting, "share": self.share(), "lane": tried.lane().word(),
        })
    }

    fn columns(&self) -> Vec<String> {
        let Self { pattern, tried } = self;
        let Tried { came_back, stayed_away, spam, waiting } = tried;
        let share = self.share().map_or("-".into(), |share| format!("{:.1}%", 100.0 * share));
        let numbers = [*came_back, *stayed_away, *spam, *waiting].map(|number| number.to_string());
        let lane = tried.lane().word().to_owned();
        [&[format!("{share:>6}")], &numbers[..], &[format!("{lane:<5}"), pattern.clone()]].concat()
    }
}

/// All patterns, the best first: those of which the largest share came back, and of equals those with more
/// outcomes.
pub fn lines(store: &Store, words: &SignWords) -> Vec<Line> {
    let all = store.learned().into_iter().flat_map(|table| table.all().collect::<Vec<_>>());
    let mut lines: Vec<_> =
        all.map(|(pattern, tried)| Line { pattern: pattern.shown(words), tried }).collect();
    let rank = |line: &Line| (line.share().unwrap_or(-1.0), line.tried.outcomes());
    lines.sort_by(|a, b| {
        let ((a, many), (b, more)) = (rank(a), rank(b));
        b.total_cmp(&a).then(more.cmp(&many))
    });
    lines
}

pub fn list(
    selection: &Selection,
    store: Option<&Store>,
    words: &SignWords,
    now: Timestamp,
    out: &mut impl Write,
) -> Result {
    if selection.is_partial() {
        return Err(Failure::Usage("list learned: nothing can be selected, it knows no addresses".into()));
    }
    let headings: &[&str] = &["SHARE", "BACK", "AWAY", "SPAM", "WAITING", "LANE", "PATTERN"];
    let mut rows = Rows::new(selection, headings, Order::Given);
    for line in store.into_iter().flat_map(|store| lines(store, words)) {
        let columns = || if selection.json { vec![line.json().to_string()] } else { line.columns() };
        rows.push(&Row { time: now, client: b"", sender: b"", recipient: b"" }, columns, out)?;
    }
    let found = rows.finish("nothing was learned yet", out)?;
    Ok(if found { Outcome::Done } else { Outcome::Negative })
}
