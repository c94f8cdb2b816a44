//! Finds the lines of a mail.

use super::story::{Event, Happened, Story};
use crate::command::{Failure, Result};
use crate::exim_log::messages::Messages;
use crate::exim_log::{Line, Mail, Sent, What};
use eximgrey::identity::{ClientNetwork, Prefixes};
use eximgrey::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// What is asked for, in small letters.
pub enum Wanted {
    Message(Vec<u8>),
    Address(Vec<u8>),
    Domain(Vec<u8>),
}

/// How many attempts are remembered that came before a message, while it is looked for by its id.
const BEFORE: usize = 100_000;

/// The most lines that are kept of what was found.
const MOST: usize = 1_000_000;

/// The longest excerpt that is kept of a line's text.
const TEXT: usize = 300;

/// Who writes to whom: the client's network, the sender, the recipient.
type Key = (String, Vec<u8>, Vec<u8>);

pub struct Search {
    wanted: Wanted,
    prefixes: Prefixes,
    since: Option<Timestamp>,
    messages: Messages,
    found: BTreeMap<Key, Story>,
    events: usize,
    /// Attempts before the message that is looked for.
    before: VecDeque<(Key, Event)>,
}

impl Search {
    pub fn new(wanted: Wanted, prefixes: Prefixes, since: Option<Timestamp>) -> Self {
        let (messages, found, before) = (Messages::default(), BTreeMap::new(), VecDeque::new());
        Self { wanted, prefixes, since, messages, found, events: 0, before }
    }

    pub fn take(&mut self, line: &Line<'_>) -> Result<()> {
        // What arrived before may be delivered since.
        let is_old = self.since.is_some_and(|since| line.time < since);
        if is_old && !matches!(line.what, What::Arrived(_) | What::Completed) {
            return Ok(());
        }
        match (&line.what, line.id) {
            (What::Refused { mail, recipient, for_now, why }, _) => {
                let what = match What::ours(why) {
                    Some(answer) => Happened::Greylisted(text(answer)),
                    None if *for_now && What::is_greylisted(why) => Happened::GreylistedByOther(text(why)),
                    None => Happened::Refused { for_now: *for_now, why: text(why) },
                };
                self.attempt(line.time, (mail, recipient), line.id, what)
            }
            (What::Passed { mail, recipient, reply }, _) => {
                self.attempt(line.time, (mail, recipient), line.id, Happened::Passed(text(reply)))
            }
            (What::Arrived(arrival), Some(id)) => {
                let wanted = !is_old && self.is_wanted(&arrival.mail, b"", Some(id));
                let recipients: Vec<_> = arrival.recipients().map(<[u8]>::to_vec).collect();
                for recipient in &recipients {
                    if wanted || !is_old && self.is_wanted(&arrival.mail, recipient, Some(id)) {
                        self.accepted(line.time, &arrival.mail, recipient, id)?;
                    }
                }
                self.messages.arrived(id, line.time, &arrival.mail, &recipients);
                Ok(())
            }
            (What::Sent { recipient, how, why }, Some(id)) => {
                let Some((message, news)) = self.messages.named(id, recipient) else { return Ok(()) };
                let (time, host, sender) = (message.time, message.host.clone(), message.sender.clone());
                let Mail { client, authenticated, unclear, .. } = message.mail();
                let mail = Mail { client, host: host.as_deref(), sender: &sender, authenticated, unclear };
                if !self.is_wanted(&mail, recipient, Some(id)) {
                    return Ok(());
                }
                if news {
                    self.accepted(time, &mail, recipient, id)?;
                }
                self.add(line.time, &mail, recipient, Some(id), Happened::Sent(*how, text(why)))
            }
            (What::Completed, Some(id)) => {
                self.messages.completed(id);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn is_wanted(&self, mail: &Mail<'_>, recipient: &[u8], id: Option<&[u8]>) -> bool {
        let domain_of = |address: &[u8], domain: &[u8]| {
            let found = address.rsplit(|&byte| byte == b'@').next().filter(|_| address.contains(&b'@'));
            found.is_some_and(|found| found.eq_ignore_ascii_case(domain))
        };
        match &self.wanted {
            Wanted::Message(wanted) => id == Some(wanted),
            // Nobody has no address but senders.
            Wanted::Address(wanted) if wanted.is_empty() => mail.sender.is_empty(),
            Wanted::Address(wanted) => {
                [mail.sender, recipient].iter().any(|a| a.eq_ignore_ascii_case(wanted))
            }
            Wanted::Domain(domain) => {
                [mail.sender, recipient].iter().any(|address| domain_of(address, domain))
            }
        }
    }

    fn attempt(
        &mut self,
        time: Timestamp,
        (mail, recipient): (&Mail<'_>, &[u8]),
        id: Option<&[u8]>,
        what: Happened,
    ) -> Result<()> {
        // After DATA it has the message's id.
        let is_wanted = self.is_wanted(mail, recipient, id);
        if matches!(self.wanted, Wanted::Message(_)) && !is_wanted {
            let event = Event { time, client: mail.client, id: None, what };
            self.before.push_back((self.key(mail, recipient), event));
            if self.before.len() > BEFORE {
                self.before.pop_front();
            }
            return Ok(());
        }
        if !is_wanted {
            return Ok(());
        }
        self.add(time, mail, recipient, id, what)
    }

    /// A message was accepted for a recipient. Where it is looked for by its id, what came before is found now.
    fn accepted(&mut self, time: Timestamp, mail: &Mail<'_>, recipient: &[u8], id: &[u8]) -> Result<()> {
        let key = self.key(mail, recipient);
        if matches!(self.wanted, Wanted::Message(_)) {
            let before = std::mem::take(&mut self.before);
            let (mine, others) = before.into_iter().partition(|(of, event)| *of == key && event.time <= time);
            self.before = others;
            let mine: VecDeque<_> = mine;
            let place = self.found.len();
            let story = self.found.entry(key).or_insert_with(|| Story::new(mail, recipient, place));
            story.events.extend(mine.into_iter().map(|(_, event)| event));
        }
        self.add(time, mail, recipient, Some(id), Happened::Accepted)
    }

    fn add(
        &mut self,
        time: Timestamp,
        mail: &Mail<'_>,
        recipient: &[u8],
        id: Option<&[u8]>,
        what: Happened,
    ) -> Result<()> {
        self.events += 1;
        if self.events > MOST {
            return Err(Failure::Usage(format!(
                "more than {MOST} lines were found; try --since, or an address"
            )));
        }
        let key = self.key(mail, recipient);
        let place = self.found.len();
        let story = self.found.entry(key).or_insert_with(|| Story::new(mail, recipient, place));
        story.client(mail);
        story.events.push(Event { time, client: mail.client, id: id.map(<[u8]>::to_vec), what });
        Ok(())
    }

    fn key(&self, mail: &Mail<'_>, recipient: &[u8]) -> Key {
        let network = |client| ClientNetwork::of(client, self.prefixes).to_string();
        let network = mail.client.map_or_else(String::new, network);
        (network, mail.sender.to_ascii_lowercase(), recipient.to_ascii_lowercase())
    }

    /// What was found, in the order of its first lines.
    pub fn stories(mut self) -> Vec<Story> {
        // The log may not tell the recipients yet.
        let messages = std::mem::take(&mut self.messages);
        for (id, message) in messages.rest().filter(|(_, message)| message.recipients.is_empty()) {
            if self.is_wanted(&message.mail(), b"", Some(&id)) {
                // More lines than are kept are an error only where they are read.
                let _ = self.add(message.time, &message.mail(), b"", Some(&id), Happened::Accepted);
            }
        }
        let mut stories: Vec<_> = self.found.into_values().collect();
        stories.iter_mut().for_each(|story| story.events.sort_by_key(|event| event.time));
        stories.sort_by_key(|story| (story.events.first().map(|event| event.time), story.place));
        stories
    }
}

fn text(text: &[u8]) -> Vec<u8> {
    text.get(..TEXT).unwrap_or(text).to_vec()
}

impl Sent {
    /// As JSON has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "put-off",
            Self::Failed => "bounced",
        }
    }
}
