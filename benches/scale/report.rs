//! The table, on the standard output and in docs/performance.md.

use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- bench-scale:begin -->\n";
const END: &str = "<!-- bench-scale:end -->\n";

/// What was measured of one store. Decisions are in microseconds, flushes and holds in milliseconds, memory is in
/// kilobytes; of decisions the median and the 99th percentile. Of holds and flushes: how many, the longest, how many were
/// too long; of a flush the median, too.
pub struct Row {
    pub triplets: u64,
    pub text: bool,
    pub known: [f64; 2],
    pub new: [f64; 2],
    pub first: f64,
    pub bytes: f64,
    pub purge: f64,
    pub holds: [f64; 3],
    pub flush: f64,
    pub flushes: [f64; 3],
    pub own: f64,
    pub shared: f64,
}

impl Row {
    /// Its line of the table.
    pub fn line(&self) -> String {
        let Self { triplets, known, new, first, bytes, own, shared, flush, purge, .. } = self;
        let text = if self.text { "yes" } else { "no" };
        let longest = |[count, longest, long]: [f64; 3]| format!("{longest:.1} ms ({long} of {count})");
        format!(
            "| {triplets} | {text} | {:.1} ({:.1}) us | {:.1} ({:.1}) us | {first:.0} us | {bytes:.0} \
             | {own:.0} kB, {:.1} MB | {flush:.2} ms | {purge:.1} s | {} | {} |\n",
            known[0],
            known[1],
            new[0],
            new[1],
            shared / 1e3,
            longest(self.holds),
            longest(self.flushes)
        )
    }
}

pub fn show(rows: &[Row], alike: &[[f64; 3]; 2], write: bool) {
    let text = text(rows, alike);
    print!("{text}");
    if write {
        put(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md"), &text);
    }
}

fn text(rows: &[Row], alike: &[[f64; 3]; 2]) -> String {
    let mut out = String::from(
        "| known triplets | text | known | new | first | bytes a triplet | own, shared memory | flush | purge | longest hold | longest \
         flush |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    rows.iter().for_each(|row| out += &row.line());
    let [[fill, live, alone], [fill_text, live_text, alone_text]] = alike;
    let _ = writeln!(
        out,
        "\nBytes a triplet at 100,000 triplets: filled as here {fill:.0} (with text {fill_text:.0}), recorded by decisions one by \
         one {live:.0} ({live_text:.0}). With a client network of its own for each triplet {alone:.0} ({alone_text:.0}).\n"
    );
    let private: Vec<&Row> = rows.iter().filter(|row| !row.text).collect();
    if let [least, .., most] = &private[..] {
        let times = |figure: fn(&Row) -> f64| figure(most) / figure(least);
        let _ = writeln!(
            out,
            "From {} to {} triplets: a known decision takes {:.1} times as long, the first of a process {:.1} times.",
            least.triplets,
            most.triplets,
            times(|row| row.known[0]),
            times(|row| row.first)
        );
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let processors = std::thread::available_parallelism().unwrap();
    let load = load.split(' ').nth(2).unwrap();
    let _ = writeln!(
        out,
        "The machine has {processors} processors; over the last 15 minutes {load} processes wanted to run."
    );
    out
}

/// Puts `text` between the markers of the file; at its end if it has none.
fn put(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let (before, rest) = old.split_once(BEGIN).unwrap_or((&old, ""));
    let after = rest.split_once(END).map_or(rest, |(_, after)| after);
    std::fs::write(path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
}
