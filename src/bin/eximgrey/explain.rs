//! `eximgrey explain`: the answer that Exim would get now, in words. The question goes the way of a call of
//! Exim's.

mod as_client;
mod sources;

use self::sources::{Sources, Told};
use crate::command::{self, Failure, Outcome, Result};
use crate::learned::Line;
use crate::output::{json, sender, span, word};
use crate::terminal;
use clap::Args;
use eximgrey::decision;
use eximgrey::evidence::{Earned, Elsewhere, Evidence, Found, Known, KnownEvidence, Pending, Trap};
use eximgrey::identity::{Identity, registrable};
use eximgrey::learned::{Pattern, SignWords, slow_delay};
use eximgrey::memory::{Access, Memory, Nothing, Question};
use eximgrey::pasted;
use eximgrey::policy::{
    MANY_NETWORKS, MANY_NETWORKS_WAIT, Verdict, attempt_counts, has_proved_itself, holds,
};
use eximgrey::reply::{Action, Reply};
use eximgrey::request::{Misuse, Request};
use eximgrey::rules::{Mode, Rules};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Triplet;
use eximgrey::words::Word;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const WHAT_EXIM_VERIFIES: &str = "\
What Exim verifies of the client, and the options of its call, are asked of Exim itself (exim -bh, as root), \
unless spf= and host= are both given, even empty, or a configuration file is named. Nothing is recorded.

Examples:
  eximgrey explain 192.0.2.1 alice@sender.example bob@example.org
  eximgrey explain 'H=mx.sender.example [192.0.2.1]:1234' '<>' bob@example.org    # as the log has it
  eximgrey explain 192.0.2.1 alice@sender.example bob@example.org spf=sender.example host= delay=1h";

/// Say what Exim would be answered now, and why.
#[derive(Args)]
#[command(after_help = WHAT_EXIM_VERIFIES)]
pub struct Explain {
    /// The client's IP address
    client: OsString,
    /// The envelope sender, "" or "<>" for the null sender
    sender: OsString,
    /// The recipient
    recipient: OsString,
    /// Options as in the ACL: spf=DOMAIN, dkim=DOMAIN, host=NAME, delay=5m, policy=NAME ...
    #[arg(value_name = "OPTION=VALUE")]
    options: Vec<OsString>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Explain, config: Option<&Path>, out: &mut impl Write) -> Result {
    let now = Timestamp::now();
    let client = pasted::client(command.client.as_bytes()).map(|client| client.to_string());
    let client = client.as_deref().map_or(command.client.as_bytes(), str::as_bytes);
    let [from, to] = [&command.sender, &command.recipient].map(|text| pasted::address(text.as_bytes()));
    let options = command.options.iter().map(|option| option.as_bytes());
    let given: Vec<&[u8]> = [client, &from, &to].into_iter().chain(options).collect();
    let request = Request::parse(&given).map_err(usage)?;
    let options = given.get(3..).unwrap_or_default();
    sources::are_domains(&request, options)?;
    let sources = Sources::of(&request, options, config.or(request.config).is_some());
    let arguments = sources.arguments(&given);
    let mut request = Request::parse(&arguments).map_err(usage)?;
    let settings = command::load(request.config.or(config))?;
    let rules = settings.rules_for(request.policy, request.recipient, &request.rules).map_err(usage)?;
    let triplet = settings.triplet(&request, &rules).map_err(usage)?;
    let without_records = |verdict: Verdict, out| {
        let because = reason(verdict, &rules, &Evidence::default(), Timestamp::default());
        simple(command, &verdict.reply(rules.mode), &because, &sources.told(&[]), out)
    };
    if let Some(verdict) = decision::without_records(&rules, triplet.as_ref(), now) {
        return without_records(verdict, out);
    }
    let Some(mut triplet) = triplet else { return without_records(Verdict::Local, out) };
    let asked = command::open_store(&settings, now).and_then(|store| {
        let Some(store) = store else {
            let (verdict, evidence) = ask(&Nothing, &Question { triplet: &triplet, rules: &rules, now })?;
            return Ok((verdict, evidence, Vec::new()));
        };
        let seen = sources.take_seen(&mut request, &triplet, &store)?;
        triplet = settings.triplet(&request, &rules).map_err(usage)?.unwrap_or_else(|| triplet.clone());
        let (verdict, evidence) = ask(&store, &Question { triplet: &triplet, rules: &rules, now })?;
        Ok((verdict, evidence, seen))
    });
    let (verdict, evidence, seen) = match asked {
        Err(Failure::Store(error)) if !command::is_denied(&error) => {
            let because = format!("{error} (eximgrey doctor)");
            simple(command, &Reply::error(error.fault()), &because, &sources.told(&[]), out)?;
            return Ok(Outcome::Negative);
        }
        asked => asked?,
    };
    let told = sources.told(&seen);
    let reply = verdict.reply(rules.mode);
    let because = reason(verdict, &rules, &evidence, now);
    let report = Report {
        request: &request,
        triplet: &triplet,
        rules: &rules,
        signs: &settings.signs,
        evidence: &evidence,
        now,
    };
    if command.json {
        let mut value = report.json(&reply, &because);
        told.add_to(&mut value);
        writeln!(out, "{value}")?;
    } else {
        report.write(&reply, &because, out)?;
        told.lines().try_for_each(|(title, text)| line(out, title, text))?;
    }
    Ok(Outcome::Done)
}

fn ask(memory: &impl Memory, question: &Question<'_>) -> Result<(Verdict, Evidence)> {
    Ok((decision::decide(memory, question, Access::Look)?, decision::evidence(memory, question)?))
}

fn usage(Misuse { fault, text }: Misuse) -> Failure {
    Failure::Usage(format!("{text}; Exim would be answered error={fault}"))
}

/// An answer that no record has a part in.
fn simple(command: &Explain, reply: &Reply, because: &str, told: &Told, out: &mut impl Write) -> Result {
    if command.json {
        let mut value = json!({"answer": reply.to_string(), "because": because});
        told.add_to(&mut value);
        writeln!(out, "{value}")?;
    } else {
        write_answer(out, reply, because)?;
        told.lines().try_for_each(|(title, text)| line(out, title, text))?;
    }
    Ok(Outcome::Done)
}

/// The rule that decided, in a sentence.
fn reason(verdict: Verdict, rules: &Rules, evidence: &Evidence, now: Timestamp) -> String {
    let Rules { delay, window, lifetime, auto_after, .. } = rules;
    let text = match verdict {
        Verdict::New { .. } => {
            format!("no attempt is recorded for any of the client's identities within the window of {window}")
        }
        Verdict::NewButLikely { .. } => format!(
            "no attempt is recorded for any of the client's identities within the window of {window}; \
             with learn = \"on\" it would pass at once: {}",
            learned(evidence)
        ),
        Verdict::Likely => learned(evidence),
        Verdict::Early { wait, .. } => {
            let rest = span(wait);
            format!("the first attempt was less than the delay of {delay} ago; a retry passes in {rest}")
        }
        Verdict::Retried { waited, by } => {
            let waited = span(waited);
            format!(
                "the first attempt was {waited} ago, more than the delay of {delay}, and the {by} matches; \
                 the triplet becomes known"
            )
        }
        Verdict::RetriedSoon { waited, by } => format!(
            "the first attempt was {} ago, more than the delay of {delay}, and the {by} matches; \
             with learn = \"on\" it would have to wait for {}: {}",
            span(waited),
            slow_delay(rules),
            learned(evidence)
        ),
        Verdict::CameBack { .. } => "its client has come back with another recipient of the message".into(),
        Verdict::SenderCameBack { waited } => format!(
            "the first attempt was {} ago, at least the delay of {delay} and {MANY_NETWORKS_WAIT}, and the sender \
             has come back from at least {MANY_NETWORKS} networks; the triplet becomes known, and its client earns \
             nothing",
            span(waited)
        ),
        Verdict::Known { by } => {
            format!(
                "the triplet passed before with this {by}, last within the lifetime of {lifetime} and a sixteenth more"
            )
        }
        Verdict::Auto { by } => {
            let mut identities = evidence.known.iter().flat_map(|side| &side.identities);
            let proved = |earned: &Earned| has_proved_itself(rules, earned, now);
            if identities.any(|e| e.by == by && e.earned.here().is_some_and(proved)) {
                format!(
                    "the client's {by} has proved itself: at least {auto_after} passes within the lifetime"
                )
            } else {
                format!("the client's {by} domain has passed for somebody here (trust_known_domains)")
            }
        }
        Verdict::Whitelisted { kind } => format!("the {kind} is on the whitelist (eximgrey whitelist list)"),
        Verdict::Trapped { wait } => {
            format!("the client's network is trapped for another {} (eximgrey list trapped)", span(wait))
        }
        Verdict::Unreadable => {
            "a record of another version stands in its place; it is neither used nor overwritten".into()
        }
        _ => {
            let mut about = verdict.reply(rules.mode).reason.about().chars();
            about.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(about).collect()
        }
    };
    if rules.mode == Mode::Observe { format!("{text} (observe mode: mail passes)") } else { text }
}

/// How often attempts like this one came back.
fn learned(evidence: &Evidence) -> String {
    let learned = evidence.pending.as_ref().and_then(|side| side.learned);
    learned.map_or_else(String::new, |learned| learned.tried.to_string())
}

struct Report<'a> {
    request: &'a Request<'a>,
    triplet: &'a Triplet<'a>,
    rules: &'a Rules,
    signs: &'a SignWords,
    evidence: &'a Evidence,
    now: Timestamp,
}

impl Report<'_> {
    fn write(&self, reply: &Reply, because: &str, out: &mut impl Write) -> io::Result<()> {
        let Self { request, triplet, rules, .. } = self;
        if let Some(client) = request.client {
            line(out, "client", client)?;
        }
        let identities = triplet.identities.iter();
        block(out, "identities", identities.map(|identity| format!("{} {identity}", identity.by())))?;
        if let Some(unused) = self.unused_host() {
            let host = request.host.as_ref().map_or(word(b""), |h| word(h.as_bytes()));
            line(out, "", format_args!("(host {host}: {unused})"))?;
        }
        line(out, "sender", sender(triplet.sender))?;
        line(out, "sender key", &triplet.sender_key)?;
        line(out, "recipient", word(triplet.recipient.as_bytes()))?;
        if let Some(plain) = triplet.without_extension(self.rules.recipient_delimiter) {
            let plain = word(plain.recipient.as_bytes());
            writeln!(out, "            (policies, the whitelist and replies of {plain} hold for it, too)")?;
        }
        let rules: Vec<_> =
            rules.shown().iter().map(|(key, value)| format!("{key}={}", value.trim_matches('"'))).collect();
        block(out, "rules", rules.chunks(5).map(|line| line.join(" ")))?;
        block(out, "records", self.records().into_iter())?;
        if let Some(learned) = self.learned() {
            line(out, "learned", format_args!("{} ({})", learned.tried, learned.pattern))?;
        }
        write_answer(out, reply, because)
    }

    /// What became of attempts like this one, if any have ended.
    fn learned(&self) -> Option<Line> {
        let tried = self.evidence.pending.as_ref()?.learned?.tried;
        let pattern = Pattern::of(self.triplet).shown(self.signs);
        (tried.outcomes() > 0).then_some(Line { pattern, tried })
    }

    /// Why a host name that was given is no identity.
    fn unused_host(&self) -> Option<&'static str> {
        let (host, client) = (self.request.host.as_ref()?, self.request.client?);
        registrable(host, client)
            .is_none()
            .then_some("no identity: generated from the address, or a public suffix")
    }

    fn records(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let Some(side) = &self.evidence.known else { return vec!["none".into()] };
        if let Some(trap) = side.trap {
            lines.push(format!("network trapped at {}, until {}", self.ago(trap.set), trap.until));
        }
        for (what, permit) in [("replies pass", side.replied), ("released", side.released)] {
            let permit = permit.filter(|permit| permit.lasts(self.now));
            lines.extend(permit.map(|permit| format!("{what} until {}", permit.until)));
        }
        let known = side.identities.iter();
        let pending = self.evidence.pending.iter().flat_map(|side| &side.identities);
        for ((identity, known), pending) in self.triplet.identities.iter().zip(known).zip(pending) {
            let KnownEvidence { earned, known, .. } = known;
            let parts = [self.earned(*earned), self.known(*known), self.pending(*pending, side.trap)];
            let parts = parts.into_iter().flatten();
            lines.extend(parts.map(|text| format!("{} {identity}: {text}", identity.by())));
        }
        lines.extend(self.elsewhere());
        if lines.is_empty() {
            lines.push("none".into());
        }
        lines
    }

    /// What counts of the same mail from other networks.
    fn elsewhere(&self) -> Option<String> {
        let attempt = |other: &&Elsewhere| Pending { first_seen: other.first_seen, passed: None };
        let others = self.evidence.pending.iter().flat_map(|side| &side.elsewhere);
        let others = others.filter(|other| attempt_counts(self.rules, &attempt(other), None, self.now));
        let first_seen = others.clone().map(|other| other.first_seen).min()?;
        let networks = others.map(|other| other.network).collect::<BTreeSet<_>>().len();
        let networks =
            if networks == 1 { "1 other network".into() } else { format!("{networks} other networks") };
        Some(format!("{networks}: first attempt at {}", self.ago(first_seen)))
    }

    fn ago(&self, then: Timestamp) -> String {
        if then > self.now {
            return format!("{then}, which lies ahead: the clock was set back");
        }
        format!("{then}, {} ago", span(self.now.since(then)))
    }

    /// Whether what was last seen at `then` has lapsed, in words.
    fn lapsed(&self, then: Timestamp) -> &'static str {
        if holds(then, self.rules.keep(), self.now) { "" } else { " (too long ago to count)" }
    }

    fn earned(&self, found: Found<Earned>) -> Option<String> {
        describe(found, |earned| {
            let lapsed = self.lapsed(earned.last_seen);
            let passes = if earned.passes == 1 { "pass" } else { "passes" };
            let spam = match earned.outcomes.spam_of() {
                (0, _) => String::new(),
                (spam, of) if earned.outcomes.are_mostly_spam() => {
                    format!("; {spam} of its last {of} outcomes were spam, so it is not trusted")
                }
                (spam, of) => format!("; {spam} of its last {of} outcomes were spam"),
            };
            format!(
                "{} {passes} counted, the last at {}{lapsed}{spam}",
                earned.passes,
                self.ago(earned.counted)
            )
        })
    }

    fn known(&self, found: Found<Known>) -> Option<String> {
        describe(found, |known| {
            let lapsed = self.lapsed(known.last_seen);
            format!("known since {}, last seen {}{lapsed}", known.passed, self.ago(known.last_seen))
        })
    }

    fn pending(&self, found: Found<Pending>, trap: Option<Trap>) -> Option<String> {
        describe(found, |pending| {
            if let Some(passed) = pending.passed {
                return format!("passed at {}, to be written to what is known", self.ago(passed));
            }
            let counts = attempt_counts(self.rules, &pending, trap, self.now);
            let lapsed = if counts { "" } else { " (does not count)" };
            format!("first attempt at {}{lapsed}", self.ago(pending.first_seen))
        })
    }

    fn json(&self, reply: &Reply, because: &str) -> Value {
        let Self { request, triplet, rules, .. } = self;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let identity =
            |identity: &Identity| json!({"by": identity.by().word(), "identity": identity.to_string()});
        // Times are seconds here.
        let seconds = |value: &Value| Some(json!(Seconds::parse(value.as_str()?.as_bytes())?.0));
        let rule = |(key, value): (String, Value)| (key, seconds(&value).unwrap_or(value));
        json!({
            "client": request.client.map(|client| client.to_string()),
            "identities": triplet.identities.iter().map(identity).collect::<Vec<_>>(),
            "sender": text(triplet.sender), "sender_key": triplet.sender_key.to_string(),
            "recipient": text(triplet.recipient.as_bytes()),
            "rules": rules.shown().into_iter().map(json).map(rule).collect::<Map<_, _>>(),
            "records": self.records(), "learned": self.learned().map(|line| line.json()), "answer": reply.to_string(), "because": because,
        })
    }
}

fn write_answer(out: &mut impl Write, reply: &Reply, because: &str) -> io::Result<()> {
    let passes = reply.action == Action::Pass;
    let paint = if passes { terminal::good } else { terminal::notable };
    line(out, "answer", paint(reply.to_string()))?;
    line(out, "because", because)
}

fn line(out: &mut impl Write, title: &str, text: impl Display) -> io::Result<()> {
    writeln!(out, "{} {text}", terminal::heading(format_args!("{title:<11}")))
}

/// Lines below one title.
fn block(out: &mut impl Write, title: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut titles = std::iter::once(title).chain(std::iter::repeat(""));
    lines.zip(&mut titles).try_for_each(|(text, title)| line(out, title, text))
}

fn describe<T>(found: Found<T>, text: impl FnOnce(T) -> String) -> Option<String> {
    match found {
        Found::Absent => None,
        Found::Here(record) => Some(text(record)),
        Found::Unreadable => Some("a record of another version".into()),
    }
}
