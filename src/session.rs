//! What a process keeps between calls: configuration files that were read, stores that are open.
//!
//! A session belongs to the process that made it. LMDB must not be used in a forked child, so there
//! everything is left behind, neither used nor closed, and a new session begins. One directory is never
//! opened twice in a process: LMDB would lose its locks.

use crate::decision;
use crate::learned::Learn;
use crate::memory::{Access, Event, Finding, Memory, Nothing, Question};
use crate::policy::Verdict;
use crate::prepared;
use crate::reply::{Effect, Fault, Reply};
use crate::request::{self, Misuse, Request};
use crate::rules::{Mode, Rules};
use crate::sender::SenderKey;
use crate::settings::{Problem, Settings, StoreSettings};
use crate::store::Store;
use crate::store::counters::Counters;
use crate::store::error::StoreError;
use crate::store::state::State;
use crate::time::Timestamp;
use crate::triplet::Triplet;
use crate::words::Word;
use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The state of one process.
#[derive(Default)]
pub struct Session {
    /// Read once and kept to the end of the process: they are borrowed while the session changes.
    configurations: Vec<(Option<PathBuf>, &'static Settings)>,
    stores: Vec<OpenStore>,
    /// Who has come back last. Exim has a process for each connection, and in one a message comes after the
    /// other.
    came_back: Option<CameBack>,
}

/// A client that has come back in this connection, and for what.
struct CameBack {
    client: Option<IpAddr>,
    sender_key: SenderKey,
    /// Where retries are bound to the message, so are its recipients.
    fingerprint: Vec<u8>,
    first_seen: Timestamp,
}

impl CameBack {
    /// When the message of `triplet` was first tried, if it is that message.
    fn first_seen(&self, triplet: &Triplet<'_>) -> Option<Timestamp> {
        let same = self.client == triplet.client
            && self.sender_key == triplet.sender_key
            && self.fingerprint == triplet.fingerprint;
        same.then_some(self.first_seen)
    }
}

/// A store that is open, under the path it was opened by.
struct OpenStore {
    path: PathBuf,
    store: Store,
}

/// Why a call could not be decided; mail passes.
#[derive(Debug)]
pub enum CallError {
    /// The arguments, or no such policy.
    Arguments(Misuse),
    /// The configuration file.
    Configuration(Vec<Problem>),
    /// The store.
    Store(StoreError),
}

impl CallError {
    /// The word for the reply.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Arguments(misuse) => misuse.fault,
            Self::Configuration(_) => Fault::BadConfig,
            Self::Store(error) => error.fault(),
        }
    }

    /// Whether it is worth a line in the log: a store that is left alone is told of once an hour.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        !matches!(self, Self::Store(StoreError::Tripped { first: false, .. }))
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(misuse) => f.write_str(&misuse.text),
            Self::Configuration(problems) => match problems.first() {
                Some(problem) => problem.fmt(f),
                None => write!(f, "the configuration cannot be read"),
            },
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl From<Misuse> for CallError {
    fn from(misuse: Misuse) -> Self {
        Self::Arguments(misuse)
    }
}

impl Session {
    /// A session with nothing read and nothing open.
    #[must_use]
    pub const fn new() -> Self {
        Self { configurations: Vec::new(), stores: Vec::new(), came_back: None }
    }

    /// Answers a call of `greylist`: client, sender, recipient and options. What is recorded is counted, and
    /// so is what fails.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn answer(
        &mut self,
        arguments: &[&[u8]],
        access: Access,
        now: Timestamp,
    ) -> Result<Reply, CallError> {
        let answer = self.decide(arguments, access, now);
        if let Err(failure) = &answer
            && access != Access::Look
        {
            self.count(arguments, failure.fault(), now);
        }
        answer
    }

    /// Counts a fault of a call, if its configuration can be read and its store has been made.
    pub fn count(&mut self, arguments: &[&[u8]], fault: Fault, now: Timestamp) {
        let Some(config) = request::configuration(arguments) else { return };
        let Ok(settings) = self.configuration(config) else { return };
        let reply = Reply::error(fault);
        if let Some(open) = self.stores.iter().find(|open| open.path == settings.store.path) {
            open.store.count(&reply, now);
        } else if let Ok(state) = State::open(&settings.store.path, false) {
            Counters::of(&state).count(&reply, now);
        }
    }

    fn decide(&mut self, arguments: &[&[u8]], access: Access, now: Timestamp) -> Result<Reply, CallError> {
        let request = Request::parse(arguments)?;
        let (settings, rules) = self.rules(&request)?;
        // Who has to wait is looked at once more, with SPF, and only then is what is learned of use.
        let rules = if access == Access::RecordKnown { Rules { learn: Learn::Off, ..rules } } else { rules };
        let triplet = settings.triplet(&request, &rules)?;
        if let Some(verdict) = decision::without_records(&rules, triplet.as_ref(), now) {
            return Ok(verdict.reply(rules.mode));
        }
        // Without a client the mail is local, and needs no records.
        let Some(mut triplet) = triplet else { return Ok(Verdict::Local.reply(rules.mode)) };
        triplet.came_back = self.came_back.as_ref().and_then(|known| known.first_seen(&triplet));
        let question = Question { triplet: &triplet, rules: &rules, now };
        let store = self.store(&settings.store, access, now).map_err(CallError::Store)?;
        let verdict = match store {
            Some(store) => decision::decide(store, &question, access),
            None => decision::decide(&Nothing, &question, access),
        };
        let verdict = verdict.map_err(CallError::Store)?;
        let reply = verdict.reply(rules.mode);
        if access.records(&verdict) {
            store.into_iter().for_each(|store| {
                store.count(&reply, now);
                store.note(&triplet, &reply, now);
            });
        }
        // Who is only observed was never told to come back.
        if let Verdict::Retried { waited, .. } | Verdict::RetriedSoon { waited, .. } = verdict
            && access == Access::Record
            && rules.mode == Mode::Enforce
        {
            let first_seen = Timestamp(now.0.saturating_sub(waited.0));
            let Triplet { client, sender_key, fingerprint, came_back, .. } = triplet;
            let first_seen = came_back.map_or(first_seen, |known| known.min(first_seen));
            self.came_back =
                Some(CameBack { client, sender_key, fingerprint: fingerprint.to_vec(), first_seen });
        }
        Ok(reply)
    }

    /// Takes a call of `greylist_sent`: our sender, their recipient and options.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn sent(&mut self, arguments: &[&[u8]], access: Access, now: Timestamp) -> Result<Effect, CallError> {
        let [ours, theirs, options @ ..] = arguments else {
            return Err(Misuse::option("expected a sender, a recipient and at most five options").into());
        };
        // Mail the other way has their recipient as its sender. What client it will come from is not known.
        let arguments = [&[b"", *theirs, *ours], options].concat();
        let request = Request::parse(&arguments)?;
        let (settings, rules) = self.rules(&request)?;
        if rules.mode == Mode::Off || access == Access::Look || theirs.is_empty() || ours.is_empty() {
            return Ok(Effect::Nothing);
        }
        let triplet = Triplet::new(Vec::new(), request.sender, request.recipient, b"", rules.sender_key);
        let question = Question { triplet: &triplet, rules: &rules, now };
        self.tell(&settings.store, access, now, &Event::Sent(&question))
    }

    /// Takes a call of `greylist_feedback`: client, sender, recipient, what was found, and options.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn feedback(
        &mut self,
        arguments: &[&[u8]],
        access: Access,
        now: Timestamp,
    ) -> Result<Effect, CallError> {
        let [client, sender, recipient, finding, options @ ..] = arguments else {
            let text = "expected a client, a sender, a recipient, a finding and at most three options";
            return Err(Misuse::option(text).into());
        };
        let finding =
            Finding::from_word(finding).ok_or_else(|| Misuse::found(finding, &Finding::expected()))?;
        let arguments = [&[*client, *sender, *recipient], options].concat();
        let request = Request::parse(&arguments)?;
        let (settings, rules) = self.rules(&request)?;
        let triplet = settings.triplet(&request, &rules)?;
        let Some(triplet) = triplet.filter(|_| rules.mode != Mode::Off && access == Access::Record) else {
            return Ok(Effect::Nothing);
        };
        let question = Question { triplet: &triplet, rules: &rules, now };
        self.tell(&settings.store, access, now, &Event::Feedback(&question, finding))
    }

    fn tell(
        &mut self,
        settings: &StoreSettings,
        access: Access,
        now: Timestamp,
        event: &Event<'_>,
    ) -> Result<Effect, CallError> {
        let store = self.store(settings, access, now).map_err(CallError::Store)?;
        store.map_or(Ok(Effect::Nothing), |store| store.tell(event)).map_err(CallError::Store)
    }

    /// The configuration of a call and the rules that it goes by.
    fn rules(&mut self, request: &Request<'_>) -> Result<(&'static Settings, Rules), CallError> {
        let settings = self.configuration(request.config)?;
        Ok((settings, settings.rules_for(request.policy, request.recipient, &request.rules)?))
    }

    /// The settings of a configuration file. It is read once a process: sessions are short, and a message
    /// must not be judged by two configurations.
    fn configuration(&mut self, named: Option<&Path>) -> Result<&'static Settings, CallError> {
        if let Some((_, settings)) = self.configurations.iter().find(|(path, _)| path.as_deref() == named) {
            return Ok(settings);
        }
        let settings = match (named, prepared::settings()) {
            (None, Some(settings)) => settings,
            _ => Box::leak(Box::new(Settings::load(named).map_err(CallError::Configuration)?)),
        };
        self.configurations.push((named.map(Path::to_path_buf), settings));
        Ok(settings)
    }

    /// The store of `settings`, opened if it is not open yet. `None` if there is none and `access` makes
    /// none.
    fn store(
        &mut self,
        settings: &StoreSettings,
        access: Access,
        now: Timestamp,
    ) -> Result<Option<&Store>, StoreError> {
        if now.is_off_scale() {
            return Err(StoreError::Clock { nearest: now });
        }
        let open = &mut self.stores;
        let mut found = open.iter().position(|known| known.path == settings.path);
        if found.is_none() && !open.is_empty() {
            // A directory is the same whatever path leads to it.
            let place = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
            let wanted = place(&settings.path);
            found = open.iter().position(|known| wanted.is_some() && place(&known.path) == wanted);
        }
        if found.is_none()
            && let Some(store) = Store::open(settings, access, now)?
        {
            open.push(OpenStore { path: settings.path.clone(), store });
            found = Some(open.len() - 1);
        }
        Ok(found.and_then(|i| open.get(i)).map(|known| &known.store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reason;
    use crate::time::Seconds;

    const NOW: Timestamp = Timestamp(1_000_000_000);

    /// A session with a store of its own, and the option that names its configuration.
    fn fixture(settings: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("eximgrey.toml");
        std::fs::write(&config, format!("store = \"{}\"\n{settings}", dir.path().display())).unwrap();
        let option = format!("config={}", config.display());
        (dir, option)
    }

    const TRIPLET: [&[u8]; 3] = [b"192.0.2.1", b"a@x.example", b"b@y.example"];

    /// Where no time passes, everybody who is new would be early for ever.
    #[test]
    fn a_clock_before_1970_or_after_2106_stops_nobody() {
        let (_dir, config) = fixture("");
        let arguments = [&TRIPLET[..], &[config.as_bytes()]].concat();
        let ask = |session: &mut Session, now| {
            let answer = session.answer(&arguments, Access::Record, Timestamp(now));
            answer.map(|reply| reply.to_string()).map_err(|failure| failure.fault().word())
        };
        for off in [0, u32::MAX] {
            assert_eq!(ask(&mut Session::new(), off), Err("bad-clock"));
        }
        let mut session = Session::new();
        assert!(ask(&mut session, u32::MAX - 400).is_ok_and(|reply| reply.contains("reason=new")));
        assert_eq!(ask(&mut session, u32::MAX), Err("bad-clock"));
        assert_eq!(ask(&mut session, 0), Err("bad-clock"));
        assert!(ask(&mut session, u32::MAX - 1).is_ok_and(|reply| reply.contains("reason=retried")));
    }

    #[test]
    fn where_greylisting_is_off_or_only_looks_nothing_is_recorded() {
        let (dir, config) = fixture("delay = \"0s\"\n");
        let mut session = Session::new();
        let with = |more: &[&'static [u8]]| [&TRIPLET[..], more].concat();
        for (option, access) in [(&b"mode=off"[..], Access::Record), (b"", Access::Look)] {
            let options = [config.as_bytes(), option];
            let feedback = [&with(&[b"trap"])[..], &options].concat();
            assert_eq!(session.feedback(&feedback, access, NOW).unwrap(), Effect::Nothing);
            let sent = [&TRIPLET[1..], &options].concat();
            assert_eq!(session.sent(&sent, access, NOW).unwrap(), Effect::Nothing);
            session.answer(&[&TRIPLET[..], &options].concat(), access, NOW).unwrap();
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the configuration alone");
        let feedback = [&with(&[b"trap"])[..], &[config.as_bytes()]].concat();
        assert_eq!(session.feedback(&feedback, Access::Record, NOW).unwrap(), Effect::Recorded);
    }

    /// With `RecordKnown` a client that has to wait or has just waited leaves no trace; others are recorded
    /// as ever.
    #[test]
    fn recording_what_is_known_leaves_no_trace_of_those_who_wait() {
        let (dir, config) = fixture("delay = \"1m\"\n");
        let mut session = Session::new();
        let mut ask = |access, minutes| {
            let now = NOW.plus(Seconds::MINUTE.times(minutes));
            let arguments = [&TRIPLET[..], &[config.as_bytes()]].concat();
            session.answer(&arguments, access, now).unwrap().to_string()
        };
        assert_eq!(ask(Access::RecordKnown, 0), "action=defer reason=new wait=60");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the configuration alone");
        assert_eq!(ask(Access::Record, 1), "action=defer reason=new wait=60");
        for _ in 0..2 {
            assert_eq!(ask(Access::RecordKnown, 2), "action=pass reason=retried delay=60 by=network");
        }
        assert_eq!(ask(Access::Record, 2), "action=pass reason=retried delay=60 by=network");
        assert_eq!(ask(Access::RecordKnown, 3), "action=pass reason=known by=network");

        // Seen so late, its last-seen time is renewed: it is still known a lifetime after that.
        let month = 60 * 24 * 30;
        assert_eq!(ask(Access::RecordKnown, month), "action=pass reason=known by=network");
        assert_eq!(ask(Access::Look, 2 * month), "action=pass reason=known by=network");
        let state = State::open(dir.path(), true).unwrap();
        let counters = Counters::of(&state);
        let counted = |minutes| counters.last_hours(1, NOW.plus(Seconds::MINUTE.times(minutes))).total();
        assert_eq!([counted(3), counted(month), counted(2 * month)], [3, 1, 0]);
    }

    /// What fails is counted in the store that the call means, as far as that can be told.
    #[test]
    fn faults_are_counted() {
        let (dir, config) = fixture("");
        let [config, nowhere] = [config.as_bytes(), b"config=/nowhere"];
        let counters = State::open(dir.path(), true).unwrap();
        let counted = || Counters::of(&counters).last_hours(1, NOW);
        let triplet: Vec<_> = TRIPLET.into_iter().chain([config]).collect();
        let with = |more: &'static [u8]| [&triplet[..], &[more]].concat();
        let calls = [
            (with(b"dlay=5m"), Fault::BadOption),
            (with(b"policy=none-such"), Fault::BadOption),
            (with(b"delay=3d"), Fault::BadOption),
            (vec![b"nobody", b"a@x.example", b"b@y.example", config], Fault::BadClient),
        ];
        // In a process with the store open, and in one of which every call fails.
        let mut open = Session::new();
        open.answer(&triplet, Access::Record, NOW).unwrap();
        for mut session in [open, Session::new()] {
            for (arguments, fault) in &calls {
                let before = counted().fault(*fault);
                for access in [Access::Look, Access::Record] {
                    let failure = session.answer(arguments, access, NOW).unwrap_err();
                    assert_eq!(failure.fault(), *fault);
                }
                assert_eq!(counted().fault(*fault), before + 1, "{fault:?}");
            }
            assert!(session.answer(&[b"nobody", b"", b"", nowhere], Access::Record, NOW).is_err());
        }
        // What LMDB cannot open.
        std::fs::write(dir.path().join("known/data.mdb"), [7; 8192]).unwrap();
        assert!(Session::new().answer(&triplet, Access::Record, NOW).is_err());
        let tally = counted();
        assert_eq!(
            (tally.total(), tally.reason(Reason::Error), tally.fault(Fault::StoreDamaged)),
            (10, 9, 1)
        );
    }

    /// What a client has come back for is remembered for that client, sender and message, and only where it
    /// was told to.
    #[test]
    fn who_has_come_back_has_come_back_for_the_whole_message() {
        let (_dir, config) = fixture("delay = \"1m\"\n");
        let mut sessions = [Session::new(), Session::new()];
        let mut ask = |session: usize, triplet: [&str; 3], options: &[&str], access, minutes| {
            let now = NOW.plus(Seconds::MINUTE.times(minutes));
            let arguments: Vec<_> = triplet.iter().chain(options).map(|text| text.as_bytes()).collect();
            let arguments = [&arguments[..], &[config.as_bytes()]].concat();
            sessions[session].answer(&arguments, access, now).unwrap().to_string()
        };
        let (client, sender) = ("192.0.2.1", "list-1@x.example");
        let to = |recipient| [client, sender, recipient];
        let by_message = "action=pass reason=retried delay=120 by=message";
        let new = "action=defer reason=new wait=60";

        assert_eq!(ask(0, to("a@y.example"), &[], Access::Record, 0), new);
        // Nobody has come back yet, and looking is not coming.
        assert_eq!(ask(1, to("b@y.example"), &[], Access::Look, 2), new);
        for access in [Access::Look, Access::RecordKnown] {
            assert!(ask(1, to("a@y.example"), &[], access, 2).contains("by=network"));
            assert_eq!(ask(1, to("b@y.example"), &[], access, 2), new);
        }
        assert!(ask(1, to("a@y.example"), &[], Access::Record, 2).contains("by=network"));
        for access in [Access::Look, Access::RecordKnown, Access::Record] {
            assert_eq!(ask(1, to("b@y.example"), &[], access, 2), by_message);
        }
        assert_eq!(ask(0, to("b@y.example"), &[], Access::Record, 2), "action=pass reason=known by=network");

        // Who passed with the message lets others pass no further than the message did.
        for (triplet, options) in [
            (["192.0.2.2", sender, "c@y.example"], &[][..]),
            ([client, "other@x.example", "c@y.example"], &[]),
            ([client, "", "c@y.example"], &[]),
            (to("c@y.example"), &["match=another message"]),
        ] {
            assert_eq!(ask(1, triplet, options, Access::Look, 2), new, "{triplet:?} {options:?}");
        }
        assert_eq!(ask(0, to("c@y.example"), &[], Access::Look, 2), new, "another connection");
        let longer = ask(1, to("c@y.example"), &["delay=1h"], Access::Look, 2);
        assert_eq!(longer, "action=defer reason=new wait=3600");
        assert_eq!(ask(1, to("c@y.example"), &[], Access::Look, 2), by_message);
    }

    /// Mail that is only observed was never deferred, so its sender has not shown that it comes back.
    #[test]
    fn who_was_only_observed_has_not_come_back() {
        let (_dir, config) = fixture("delay = \"1m\"\n[recipients]\n\"a@y.example\" = \"observe\"\n");
        let mut session = Session::new();
        let mut ask = |recipient: &[u8], minutes| {
            let now = NOW.plus(Seconds::MINUTE.times(minutes));
            let arguments = [b"192.0.2.1", &b"s@x.example"[..], recipient, config.as_bytes()];
            session.answer(&arguments, Access::Record, now).unwrap().to_string()
        };
        ask(b"a@y.example", 0);
        assert!(ask(b"a@y.example", 2).contains("reason=retried"));
        assert_eq!(ask(b"b@y.example", 2), "action=defer reason=new wait=60");
    }

    #[test]
    fn one_directory_is_opened_once_whatever_path_leads_to_it() {
        let (dir, config) = fixture("");
        let link = dir.path().with_extension("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let other = dir.path().join("other.toml");
        std::fs::write(&other, format!("store = \"{}\"\n", link.display())).unwrap();
        let other = format!("config={}", other.display());
        let mut session = Session::new();
        for (option, reason) in [(&config, "new"), (&other, "early")] {
            let reply = session.answer(&[&TRIPLET[..], &[option.as_bytes()]].concat(), Access::Record, NOW);
            assert!(reply.unwrap().to_string().contains(reason), "{option}");
        }
        assert_eq!(session.stores.len(), 1);
        std::fs::remove_file(link).unwrap();
    }
}
