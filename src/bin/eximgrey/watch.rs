//! `eximgrey watch`: decisions as they happen. Every process of Exim notes its decisions while somebody
//! watches ([`eximgrey::store::recent`]), so nothing is searched for: however large the store, looking costs the
//! same, and nothing of it is held open.

use crate::command::{self, Failure, Outcome, Result};
use crate::filter::{Filters, Texts};
use crate::output::{sender, span, word};
use crate::terminal::{self, Live, Painted};
use clap::Args;
use eximgrey::identity::{ClientNetwork, Domain, Identity};
use eximgrey::policy::has_proved_itself;
use eximgrey::reply::{Action, By, Matched, Reason};
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::counters::Counters;
use eximgrey::store::recent::{self, Noted};
use eximgrey::time::{Seconds, Timestamp};
use ipnetwork::IpNetwork;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// Often enough to be called at once, and seldom enough to cost nothing.
const LOOK: Duration = Duration::from_millis(100);

/// A pass is counted for its identities when it is carried to what is known: within a second, or so.
const CARRIED: Seconds = Seconds(3);

/// Passes whose identities are looked at again; more at a time are not worth the memory.
const MOST_PASSED: usize = 10_000;

const EXAMPLES: &str = "\
Columns: TIME WHAT TIME-SPAN BY IDENTITY SENDER RECIPIENT
  new, early, trapped   deferred; the span is what is left to wait
  retried               came back in time; the span is how long it waited
  released, error, ...  reasons, as eximgrey(7) explains them
  proved                the identity has proved itself: its mail passes at once from now on
  trap                  the network was trapped, for that span
  counted               all decisions of the interval, those that are not shown, too

Examples:
  eximgrey watch recipient=bob@example.org      # did the retry come?
  eximgrey watch --all client=192.0.2.1         # also what passes at once
  eximgrey watch --interval 1m --count 60       # an hour, counted by the minute, and then an end";

/// Show decisions as they happen.
///
/// It goes on until it is interrupted. Mail that passes at once is only counted: known, auto, whitelisted and replied; --all shows it. Nothing is
/// searched for, so it costs the same however large the store is.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Watch {
    #[command(flatten)]
    filters: Filters,
    /// Also mail that passes at once
    #[arg(long)]
    all: bool,
    /// How often decisions are counted [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = command::time)]
    interval: Option<Seconds>,
    /// End after NUMBER intervals
    #[arg(long, value_name = "NUMBER")]
    count: Option<NonZeroU32>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Watch, settings: &Settings, out: &mut impl Write) -> Result {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().map_err(io::Error::from)?;
    let signals = SignalFd::new(&signals).map_err(io::Error::from)?;
    if settings.store.privacy && !command.filters.is_empty() {
        let text = "with `privacy = true` no addresses are noted: nothing matches a filter";
        command::complain(&Failure::Usage(text.into()));
    }
    let interval = Duration::from_secs(command.interval.unwrap_or(Seconds(1)).0.into());
    let mut watching = Watching::begin(settings, Timestamp::now())?;
    let live = Live::new(!command.json);
    if live.is_there() {
        writeln!(out, "{}", terminal::heading(heading()))?;
    }
    let (mut begin, mut intervals) = (Instant::now(), 0);
    let mut next = begin + interval;
    loop {
        out.flush()?;
        let ended = wait(&signals, LOOK.min(next.saturating_duration_since(Instant::now())))?;
        let now = Timestamp::now();
        let events = watching.look(now)?;
        let mut lines = Vec::new();
        for event in events.iter().filter(|event| event.is_shown(command)) {
            lines.push(if command.json { event.json().to_string() } else { event.line().to_string() });
        }
        let is_over = Instant::now() >= next || ended;
        if is_over {
            intervals += 1;
            let counted = watching.count(now);
            let seconds = Seconds(begin.elapsed().as_secs_f64().round().max(1.0) as u32);
            begin = Instant::now();
            // The machine may have slept.
            next = begin.max(next + interval);
            match (command.json, live.is_there()) {
                (true, _) => lines.push(counted.json(now, seconds).to_string()),
                (false, true) => live.say(counted.line(now, seconds)),
                (false, false) if counted.total() > 0 => lines.push(counted.line(now, seconds)),
                (false, false) => {}
            }
        }
        if !lines.is_empty() {
            live.above(|| {
                lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush())
            })?;
        }
        if ended || command.count.is_some_and(|count| intervals >= count.get()) {
            return Ok(Outcome::Done);
        }
    }
}

/// Waits for the end of the time, or of the watching: a signal, or nobody reads any more.
fn wait(signals: &SignalFd, time: Duration) -> io::Result<bool> {
    let stdout = io::stdout();
    let mut events = [
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        // An error of the pipe is told without being asked for.
        PollFd::new(stdout.as_fd(), PollFlags::empty()),
    ];
    // Rounded up: not to look again just before the time.
    let time = PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut events, time) {
        Ok(_) | Err(Errno::EINTR) => Ok(events.iter().any(|event| event.any().unwrap_or(false))),
        Err(error) => Err(error.into()),
    }
}

/// The store that is watched, and what was seen of it.
struct Watching<'a> {
    settings: &'a Settings,
    store: Store,
    /// Which file `state` that is: somebody may make another one.
    state: Option<u64>,
    watch: recent::Watch,
    /// Identities that have passed and may have proved themselves by it.
    passed: Vec<(Timestamp, Identity)>,
    /// Identities that have been told of, and when.
    proved: Vec<(Timestamp, Identity)>,
    counted: Counted,
}

impl<'a> Watching<'a> {
    fn begin(settings: &'a Settings, now: Timestamp) -> Result<Self> {
        // Made, if it is missing, as by the first decision, which so is seen.
        let store = command::open_store_to_write(settings, now)?;
        let state = state(settings);
        let watch = recent::Watch::begin(&store, now).ok_or_else(|| not_counted(settings))?;
        let mut counted = Counted { since: now, ..Counted::default() };
        store.counters().map(|counters| counted.go_on(counters, now));
        Ok(Self { settings, store, state, watch, passed: Vec::new(), proved: Vec::new(), counted })
    }

    /// What has happened since the last look.
    fn look(&mut self, now: Timestamp) -> Result<Vec<Event>> {
        if self.state != state(self.settings) {
            *self = Self::begin(self.settings, now)?;
        }
        if !self.watch.go_on(&self.store, now) {
            return Err(not_counted(self.settings));
        }
        let mut events = Vec::new();
        for (time, identity) in std::mem::take(&mut self.passed) {
            self.tell_if_proved(time, identity, now, &mut events)?;
        }
        let (noted, missed) = self.watch.take(&self.store);
        for noted in noted {
            let (time, retried) = (noted.time, noted.reason == Some(Reason::Retried));
            let named = noted.identities.iter().filter(|_| retried);
            let identities: Vec<_> = named.filter_map(|(by, text)| identity(*by, text)).collect();
            events.push(Event::Noted(noted));
            for identity in identities {
                self.tell_if_proved(time, identity, now, &mut events)?;
            }
        }
        if missed > 0 {
            events.push(Event::Missed(now, missed));
        }
        Ok(events)
    }

    /// Tells of an identity that has proved itself by a pass at `time`; one whose pass is not counted yet is
    /// looked at again.
    fn tell_if_proved(
        &mut self,
        time: Timestamp,
        identity: Identity,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) -> Result<()> {
        let rules = &self.settings.rules;
        match self.store.earned(&identity)?.filter(|earned| earned.counted >= time) {
            Some(earned) if earned.passes == rules.auto_after && has_proved_itself(rules, &earned, now) => {
                self.proved.retain(|(before, _)| now.since(*before) <= CARRIED);
                // Many recipients of a message pass in the same second.
                if !self.proved.iter().any(|(_, other)| *other == identity) {
                    self.proved.push((now, identity.clone()));
                    events.push(Event::Proved(time, identity));
                }
            }
            None if now.since(time) <= CARRIED && self.passed.len() < MOST_PASSED => {
                self.passed.push((time, identity));
            }
            _ => {}
        }
        Ok(())
    }

    /// What was counted since this was last asked.
    fn count(&mut self, now: Timestamp) -> Counted {
        self.store.counters().map_or_else(Counted::default, |counters| self.counted.go_on(counters, now))
    }
}

fn not_counted(settings: &Settings) -> Failure {
    let state = settings.store.path.join("state");
    Failure::Usage(format!("{} cannot be used, so nothing can be seen: try eximgrey doctor", state.display()))
}

fn state(settings: &Settings) -> Option<u64> {
    fs::metadata(settings.store.path.join("state")).ok().map(|meta| meta.ino())
}

fn identity(by: By, text: &[u8]) -> Option<Identity> {
    Some(match by {
        By::Network => {
            let network: IpNetwork = str::from_utf8(text).ok()?.parse().ok()?;
            Identity::Network(ClientNetwork::new(network.ip(), network.prefix()))
        }
        By::Spf => Identity::Spf(Domain::parse(text)?),
        By::Dkim => Identity::Dkim(Domain::parse(text)?),
        By::Host => Identity::Host(Domain::parse(text)?),
    })
}

/// Something that has happened.
#[derive(Debug, PartialEq)]
enum Event {
    Noted(Noted),
    Proved(Timestamp, Identity),
    /// So many decisions went by too fast.
    Missed(Timestamp, u32),
}

/// The columns of a line, as wide as they mostly are.
fn columns(time: &str, what: Painted<String>, rest: [&str; 5]) -> String {
    let [span, by, identity, sender, recipient] = rest;
    let line = format!("{time:<20} {what} {span:>7} {by:<7} {identity:<18} {sender:<32} {recipient}");
    line.trim_end().to_owned()
}

fn padded(what: &str) -> String {
    format!("{what:<11}")
}

fn heading() -> String {
    let what = terminal::plain(padded("WHAT"));
    columns("TIME", what, ["SPAN", "BY", "IDENTITY", "SENDER", "RECIPIENT"])
}

impl Event {
    fn is_shown(&self, command: &Watch) -> bool {
        match self {
            Self::Noted(Noted { reason, sender, recipient, identities, .. }) => {
                let at_once = |reason| {
                    use Reason::{Auto, Known, Replied, Whitelisted};
                    matches!(reason, Known | Auto | Whitelisted | Replied)
                };
                let shows =
                    |client| command.filters.shows(&Texts { client, sender, recipient, ..Texts::default() });
                let by_texts = if identities.is_empty() {
                    shows(b"")
                } else {
                    identities.iter().any(|(_, text)| shows(text))
                };
                by_texts && (command.all || !reason.is_some_and(at_once))
            }
            Self::Proved(_, identity) => {
                let client = identity.to_string();
                command.filters.shows(&Texts { client: client.as_bytes(), ..Texts::default() })
            }
            Self::Missed(..) => true,
        }
    }

    fn line(&self) -> String {
        let dash = "-";
        match self {
            Self::Noted(noted) => {
                let Noted { time, reason, seconds, recipient, identities, .. } = noted;
                let (what, paint): (_, fn(String) -> Painted<String>) = match reason {
                    None => ("trap", terminal::bad),
                    Some(Reason::Error) => ("error", terminal::bad),
                    Some(reason) if reason.action() == Action::Defer => (reason.word(), terminal::notable),
                    Some(reason @ (Reason::Retried | Reason::Released)) => (reason.word(), terminal::good),
                    Some(reason) => (reason.word(), terminal::plain),
                };
                let known_by = noted.by.map(Matched::word);
                let shown = identities.iter().find(|(by, _)| Some(by.word()) == known_by);
                let shown = shown.or(identities.first());
                let by = known_by.or(shown.map(|(by, _)| by.word())).unwrap_or(dash);
                let identity = shown.map_or_else(|| dash.into(), |(_, text)| word(text).to_string());
                let has_span =
                    reason.is_none_or(|reason| reason.action() == Action::Defer || reason == Reason::Retried);
                let span = if has_span { span(*seconds).replace(' ', "") } else { dash.into() };
                // Where the store keeps no texts, or it is a trap, there is none, not the null sender.
                let from = if identities.is_empty() || reason.is_none() {
                    dash.to_owned()
                } else {
                    sender(&noted.sender).to_string()
                };
                let to = word(recipient).to_string();
                let observed = if noted.would_defer { " (only observed)" } else { "" };
                columns(
                    &time.to_string(),
                    paint(padded(what)),
                    [&span, by, &identity, &from, &(to + observed)],
                )
            }
            Self::Proved(time, identity) => {
                let (what, text) = (terminal::good(padded("proved")), identity.to_string());
                columns(&time.to_string(), what, [dash, identity.by().word(), &text, dash, dash])
            }
            Self::Missed(time, many) => {
                format!("{time} {} {many} decisions went by too fast", terminal::notable(padded("missed")))
            }
        }
    }

    fn json(&self) -> Value {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Noted(noted) => {
                let named =
                    |(by, identity): &(By, Vec<u8>)| json!({"by": by.word(), "identity": text(identity)});
                let identities: Vec<_> = noted.identities.iter().map(named).collect();
                let Some(reason) = noted.reason else {
                    return json!({"event": "trap", "time": noted.time.0, "seconds": noted.seconds.0,
                                  "identities": identities});
                };
                let keeps_texts = !identities.is_empty();
                let kept = |bytes: &[u8]| keeps_texts.then(|| text(bytes));
                let waits = reason.action() == Action::Defer;
                json!({
                    "event": "decision", "time": noted.time.0, "reason": reason.word(),
                    "wait": waits.then_some(noted.seconds.0),
                    "delay": (reason == Reason::Retried).then_some(noted.seconds.0),
                    "by": noted.by.map(Matched::word), "would_defer": noted.would_defer, "identities": identities,
                    "sender": kept(&noted.sender), "recipient": kept(&noted.recipient), "cut": noted.cut,
                })
            }
            Self::Proved(time, identity) => json!({"event": "proved", "time": time.0,
                "by": identity.by().word(), "identity": identity.to_string()}),
            Self::Missed(time, many) => json!({"event": "missed", "time": time.0, "decisions": many}),
        }
    }
}

/// Decisions by reason and fault, and those that are only observed.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted {
    /// From when on they are counted.
    since: Timestamp,
    total: u64,
    would_defer: u64,
    words: Vec<(String, u64)>,
}

impl Counted {
    /// Takes in what is counted up to `now`; says what is new of it. An hour that is over is counted no more.
    fn go_on(&mut self, counters: Counters<'_>, now: Timestamp) -> Self {
        // Where the clock was set back, it begins anew.
        let was_set_back = now < self.since;
        let (mut all, mut newest) = (Self::default(), Self::default());
        for (begin, tally) in counters.hours(self.since.min(now)..=now) {
            let words = tally.words().collect();
            newest = Self { since: begin, total: tally.total(), would_defer: tally.would_defer(), words };
            all = all.with(&newest, u64::saturating_add);
        }
        let before = std::mem::replace(self, newest);
        if was_set_back { Self::default() } else { all.with(&before, u64::saturating_sub) }
    }

    /// Each number and its `other` put together. Words are in one order, or there are none.
    fn with(&self, other: &Self, together: fn(u64, u64) -> u64) -> Self {
        let longer = if self.words.is_empty() { &other.words } else { &self.words };
        let number = |of: &Self, place: usize| of.words.get(place).map_or(0, |(_, number)| *number);
        let word = |(place, (word, _)): (usize, &(String, u64))| {
            (word.clone(), together(number(self, place), number(other, place)))
        };
        Self {
            since: other.since,
            total: together(self.total, other.total),
            would_defer: together(self.would_defer, other.would_defer),
            words: longer.iter().enumerate().map(word).collect(),
        }
    }

    const fn total(&self) -> u64 {
        self.total
    }

    fn line(&self, now: Timestamp, interval: Seconds) -> String {
        let rate = self.total as f64 / f64::from(interval.0);
        let observed = [("only observed".to_owned(), self.would_defer)];
        let words = self.words.iter().chain(&observed).filter(|(_, count)| *count > 0);
        let words: Vec<_> = words.map(|(word, count)| format!("{count} {word}")).collect();
        let rest = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
        format!("{now} {} {rate:.1}/s{rest}", padded("counted"))
    }

    fn json(&self, now: Timestamp, interval: Seconds) -> Value {
        let (errors, reasons): (Vec<_>, Vec<_>) =
            self.words.iter().partition(|(word, _)| word.starts_with("error="));
        let errors = errors.iter().map(|(word, n)| (word.trim_start_matches("error=").to_owned(), json!(n)));
        let reasons = reasons.iter().map(|(word, n)| (word.clone(), json!(n)));
        json!({
            "event": "counted", "time": now.0, "seconds": interval.0, "total": self.total,
            "would_defer": self.would_defer, "reasons": reasons.collect::<Map<_, _>>(),
            "errors": errors.collect::<Map<_, _>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eximgrey::memory::Access;
    use eximgrey::reply::Reply;
    use eximgrey::settings::StoreSettings;

    /// Also when an hour is over, or the clock is set back.
    #[test]
    fn each_decision_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings { path: dir.path().into(), ..StoreSettings::default() };
        let hour = Timestamp(3_600 * 300_000);
        let store = Store::open(&settings, Access::Record, hour).unwrap().unwrap();
        let at = |seconds: u32| Timestamp(hour.0 - 100 + seconds);
        let decide = |seconds: &[u32]| {
            seconds.iter().for_each(|at_second| store.count(&Reply::new(Reason::New), at(*at_second)));
        };
        decide(&[1, 2]);
        let mut counted = Counted { since: at(3), ..Counted::default() };
        let mut new = |seconds: u32| counted.go_on(store.counters().unwrap(), at(seconds)).total;
        new(3);
        decide(&[4]);
        assert_eq!(new(5), 1);
        decide(&[6, 99, 100, 130]);
        assert_eq!([new(131), new(132)], [4, 0]);
        assert_eq!([new(50), new(51)], [0, 0]);
        decide(&[52]);
        assert_eq!(new(53), 1);
        let line =
            Counted { total: 3, words: vec![("new".into(), 3), ("early".into(), 0)], ..Counted::default() };
        assert_eq!(line.line(hour, Seconds(2)), format!("{hour} counted     1.5/s: 3 new"));
    }
}
