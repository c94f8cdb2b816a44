//! `eximgrey metrics`: what was counted, and what there is, in the text format of Prometheus.

use crate::command::{self, Failure, Outcome, Result};
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::counters::{Tally, WAITED};
use eximgrey::store::survey::Survey;
use eximgrey::time::Timestamp;
use std::fmt::{self, Write as _};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const EXAMPLES: &str = "\
Examples:
  eximgrey metrics
  eximgrey metrics --textfile /var/lib/prometheus/node-exporter/eximgrey.prom

The packages bring a systemd timer that does the latter every minute:
  systemctl enable --now eximgrey-metrics.timer";

/// Prints figures for Prometheus.
///
/// Counters begin when the store is made and only grow. A store that cannot be used is told by
/// eximgrey_store_usable.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Metrics {
    /// Write to FILE, for the textfile collector of node-exporter: beside it, then renamed, so that nobody
    /// reads half of it. Its name has to end in .prom
    #[arg(long, value_name = "FILE", value_parser = prom)]
    textfile: Option<PathBuf>,
}

/// node-exporter reads no others.
fn prom(text: &str) -> std::result::Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let ends = path.extension().is_some_and(|end| end == "prom");
    if ends { Ok(path) } else { Err("expected a name that ends in .prom".into()) }
}

pub fn run(command: &Metrics, config: Option<&Path>, out: &mut impl Write) -> Result {
    if let Some(file) = &command.textfile {
        return to_file(file, config);
    }
    let settings = command::load(config)?;
    let (usable, made, holds) = match look(&settings) {
        Ok(Some((made, holds))) => (true, Some(made), holds),
        Ok(None) => (true, None, Survey::default()),
        Err(Failure::Store(error)) if !command::is_denied(&error) => {
            command::complain(&Failure::Store(error));
            (false, None, Survey::default())
        }
        Err(failure) => return Err(failure),
    };
    let tally = Store::counted_in(&settings.store.path).unwrap_or_default();
    let seen = Seen { settings: &settings, usable, made, holds: &holds, tally: &tally };
    out.write_all(seen.text().unwrap_or_default().as_bytes())?;
    Ok(Outcome::Done)
}

fn look(settings: &Settings) -> Result<Option<(Timestamp, Survey)>> {
    let now = Timestamp::now();
    let Some(store) = command::open_store(settings, now)? else { return Ok(None) };
    Ok(Some((store.made(), store.survey(&settings.rules, now)?)))
}

/// The figures come from another process: this one stays whoever may write the file, the other becomes the
/// store's owner.
fn to_file(file: &Path, config: Option<&Path>) -> Result {
    let cannot = |error: io::Error| Failure::Usage(format!("cannot write {}: {error}", file.display()));
    let mut own = Command::new(std::env::current_exe().map_err(cannot)?);
    own.arg("metrics");
    if let Some(config) = config {
        own.arg("--config").arg(config);
    }
    let figures = own.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(cannot)?;
    if !figures.status.success() {
        return Err(Failure::Usage(format!("{} stays as it was", file.display())));
    }
    let draft = file.with_extension(format!("prom.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&draft)
        .and_then(|mut written| written.write_all(&figures.stdout))
        .and_then(|()| fs::rename(&draft, file));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map_err(cannot)?;
    Ok(Outcome::Done)
}

/// What the figures are made of.
struct Seen<'a> {
    settings: &'a Settings,
    usable: bool,
    made: Option<Timestamp>,
    holds: &'a Survey,
    tally: &'a Tally,
}

/// The text as far as it is written.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str, samples: &[(String, u64)]) -> fmt::Result {
        writeln!(self.0, "# HELP eximgrey_{name} {help}\n# TYPE eximgrey_{name} {kind}")?;
        samples.iter().try_for_each(|(labels, value)| writeln!(self.0, "eximgrey_{name}{labels} {value}"))
    }
}

/// Labels and values here are words of ours, with nothing in them to escape.
fn label(name: &str, value: &str) -> String {
    format!("{{{name}=\"{value}\"}}")
}

impl Seen<'_> {
    fn text(&self) -> std::result::Result<String, fmt::Error> {
        let Self { settings, usable, made, holds, tally } = self;
        let mut text = Text(String::new());
        let one = |value: u64| [(String::new(), value)];
        let info = label("version", env!("CARGO_PKG_VERSION"));
        text.family("info", "gauge", "The version of this command.", &[(info, 1)])?;
        text.family("store_usable", "gauge", "Whether the store can be used.", &one((*usable).into()))?;
        if let Some(made) = made {
            let help = "When the store was made.";
            text.family("store_made_timestamp_seconds", "gauge", help, &one(made.0.into()))?;
        }
        let decisions: Vec<_> = Tally::reasons()
            .map(|reason| {
                let labels =
                    format!("{{action=\"{}\",reason=\"{}\"}}", reason.action().word(), reason.word());
                (labels, tally.reason(reason))
            })
            .collect();
        let help = "Answers to Exim, a recipient each, by what was decided and why.";
        text.family("decisions_total", "counter", help, &decisions)?;
        let faults: Vec<_> =
            Tally::faults().map(|fault| (label("error", fault.word()), tally.fault(fault))).collect();
        text.family("faults_total", "counter", "Answers that let mail pass over a fault.", &faults)?;
        let help = "Passes in observe mode that would have been deferred.";
        text.family("would_defer_total", "counter", help, &one(tally.would_defer()))?;
        let help = "Deferred, though with learn = on they would have passed.";
        text.family("would_pass_total", "counter", help, &one(tally.would_pass()))?;
        let help = "First attempts that came back and passed.";
        text.family("came_back_total", "counter", help, &one(tally.came_back()))?;
        text.waits(tally)?;
        if *usable {
            let of = |known: u64, pending: u64| {
                [(label("table", "known"), known), (label("table", "pending"), pending)]
            };
            for (name, help, samples) in [
                ("known_triplets", "Triplets that have passed.", &one(holds.triplets)[..]),
                ("first_attempts", "Triplets that wait for their retry.", &one(holds.first_attempts)),
                ("identities", "Client identities that have passed.", &one(holds.identities)),
                ("identities_proved", "Those of them that have proved themselves.", &one(holds.proved)),
                (
                    "entries",
                    "Entries of the whitelist, addresses written to, releases and traps.",
                    &[
                        (label("kind", "whitelisted"), holds.whitelisted),
                        (label("kind", "replied"), holds.replied),
                        (label("kind", "released"), holds.released),
                        (label("kind", "trapped"), holds.trapped),
                    ],
                ),
                ("used_bytes", "Bytes in use in the file.", &of(holds.known.bytes, holds.pending.bytes)),
                (
                    "expired_records",
                    "Records that have expired and wait to be tidied away.",
                    &of(holds.known.expired, holds.pending.expired),
                ),
                (
                    "unreadable_records",
                    "Records of another version.",
                    &of(holds.known.unreadable, holds.pending.unreadable),
                ),
                (
                    "max_records",
                    "The most records there may be (max_known, max_pending).",
                    &of(settings.store.max_known, settings.store.max_pending),
                ),
            ] {
                text.family(name, "gauge", help, samples)?;
            }
        }
        Ok(text.0)
    }
}

impl Text {
    /// How long retries that passed had waited. Only the number in each bucket is known, not the sum.
    fn waits(&mut self, tally: &Tally) -> fmt::Result {
        let (mut below, mut samples) = (0, Vec::new());
        for (place, (bound, count)) in (1..).zip(WAITED.iter().zip(tally.waits())) {
            below += count;
            // The last one has no bound.
            let bound = if place == WAITED.len() { "+Inf".to_owned() } else { bound.0.to_string() };
            samples.push((label("le", &bound), below));
        }
        let help = "How long retries that passed had waited.";
        self.family("wait_seconds", "histogram", help, &[])?;
        samples.iter().try_for_each(|(labels, value)| {
            writeln!(self.0, "eximgrey_wait_seconds_bucket{labels} {value}")
        })?;
        writeln!(self.0, "eximgrey_wait_seconds_count {below}")
    }
}
