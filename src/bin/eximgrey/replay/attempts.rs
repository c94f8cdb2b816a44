//! Attempts at mail from outside, as Exim's main log tells of them.
//!
//! A recipient that a greylister deferred is one, and so is one of each message that was accepted. Of what
//! has waited our own line comes first; the message that follows it is the same attempt. What was refused for
//! another reason is none: eximgrey is asked about recipients that nothing else stands against.

use crate::exim_log::messages::Messages;
use crate::exim_log::{Line, Mail, What};
use eximgrey::identity::is_private;
use eximgrey::time::{Seconds, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// An attempt at one recipient.
pub struct Attempt<'l> {
    pub time: Timestamp,
    pub client: IpAddr,
    /// The host name that Exim has verified.
    pub host: Option<&'l [u8]>,
    pub sender: &'l [u8],
    pub recipient: &'l [u8],
    /// Exim took the mail.
    pub accepted: bool,
}

/// What is no attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Messages from this host, from its own networks, and from who has logged in.
    pub own: u64,
    /// Recipients that were refused, but not by a greylister.
    pub refused: u64,
    /// Lines whose client may have forged its address.
    pub unclear: u64,
    /// Messages whose recipients the log does not name.
    pub unnamed: u64,
}

/// The most that is remembered of either kind; with more, the older goes.
const MOST: usize = 100_000;

/// A message ends so long after its recipients were accepted: Exim's own limit for a command and for data is
/// half of it.
const MESSAGE: Seconds = Seconds::MINUTE.times(10);

/// So long after our line the message's recipients may still be named, by their deliveries.
const NAMED: Seconds = Seconds::DAY;

/// A client and what it sent, in small letters.
type Of = (IpAddr, Vec<u8>);

#[derive(Default)]
pub struct Attempts {
    messages: Messages,
    /// What has passed by our own lines. They lack the host name, which the message has that follows.
    held: HashMap<Of, Vec<Passed>>,
    held_since: VecDeque<(Timestamp, Of)>,
    /// The same when it was given, until its message names it: client, sender and recipient.
    told: HashMap<Of, Timestamp>,
    left_out: LeftOut,
}

struct Passed {
    time: Timestamp,
    sender: Vec<u8>,
    recipient: Vec<u8>,
}

impl Attempts {
    /// Gives each attempt of a line to `give`.
    pub fn take(&mut self, line: &Line<'_>, give: &mut impl FnMut(&Attempt<'_>)) {
        while self.held_since.front().is_some_and(|(since, _)| line.time.since(*since) > MESSAGE) {
            self.give_oldest(give);
        }
        match (&line.what, line.id) {
            (What::Refused { mail, recipient, for_now, why }, _) => {
                if !(*for_now && What::is_greylisted(why)) {
                    self.left_out.refused += 1;
                } else if let Some(client) = self.client(mail) {
                    let Mail { host, sender, .. } = *mail;
                    give(&Attempt { time: line.time, client, host, sender, recipient, accepted: false });
                }
            }
            (What::Passed { mail, recipient, .. }, _) => {
                let Some(client) = self.client(mail) else { return };
                self.hold(client, line.time, mail.sender, recipient);
                if self.held_since.len() > MOST {
                    self.give_oldest(give);
                }
            }
            (What::Arrived(arrival), Some(id)) => {
                let Some(client) = self.client(&arrival.mail) else { return };
                let of = (client, arrival.mail.sender.to_ascii_lowercase());
                if !self.held.is_empty() {
                    self.give_held(&of, arrival.mail.host, give);
                }
                if arrival.recipients.is_empty() {
                    self.messages.arrived(id, line.time, &arrival.mail, &[]);
                }
                for recipient in arrival.recipients() {
                    self.accepted(line.time, (client, &arrival.mail), recipient, give);
                }
            }
            (What::Sent { recipient, .. }, Some(id)) => {
                let Some((message, true)) = self.messages.named(id, recipient) else { return };
                let (time, host, sender) = (message.time, message.host.clone(), message.sender.clone());
                let Some(client) = message.client else { return };
                let mail = Mail { host: host.as_deref(), sender: &sender, ..Mail::default() };
                self.accepted(time, (client, &mail), recipient, give);
            }
            (What::Completed, Some(id)) => {
                let unnamed = self.messages.completed(id).is_some_and(|m| m.recipients.is_empty());
                self.left_out.unnamed += u64::from(unnamed);
            }
            _ => {}
        }
    }

    /// Gives what is left, when all lines have been read, and says what is left out.
    pub fn end(mut self, give: &mut impl FnMut(&Attempt<'_>)) -> LeftOut {
        while !self.held_since.is_empty() {
            self.give_oldest(give);
        }
        let unnamed = self.messages.rest().filter(|(_, message)| message.recipients.is_empty()).count();
        LeftOut { unnamed: self.left_out.unnamed + unnamed as u64, ..self.left_out }
    }

    /// The client of mail from outside.
    fn client(&mut self, mail: &Mail<'_>) -> Option<IpAddr> {
        if mail.unclear {
            self.left_out.unclear += 1;
            return None;
        }
        let outside = mail.client.filter(|client| !mail.authenticated && !is_private(*client));
        self.left_out.own += u64::from(outside.is_none());
        outside
    }

    fn hold(&mut self, client: IpAddr, time: Timestamp, sender: &[u8], recipient: &[u8]) {
        let of = (client, sender.to_ascii_lowercase());
        let held = self.held.entry(of.clone()).or_default();
        if held.is_empty() {
            self.held_since.push_back((time, of));
        }
        held.push(Passed { time, sender: sender.to_vec(), recipient: recipient.to_vec() });
    }

    fn give_oldest(&mut self, give: &mut impl FnMut(&Attempt<'_>)) {
        let Some((since, of)) = self.held_since.pop_front() else { return };
        // It may have been given, and held again.
        if self.held.get(&of).and_then(|held| held.first()).is_some_and(|first| first.time == since) {
            self.give_held(&of, None, give);
        }
    }

    fn give_held(&mut self, of: &Of, host: Option<&[u8]>, give: &mut impl FnMut(&Attempt<'_>)) {
        for Passed { time, sender, recipient } in self.held.remove(of).into_iter().flatten() {
            let client = of.0;
            give(&Attempt { time, client, host, sender: &sender, recipient: &recipient, accepted: true });
            if self.told.len() >= MOST {
                self.told.retain(|_, told| time.since(*told) < NAMED);
            }
            if self.told.len() < MOST {
                self.told.insert((client, mail_key(&sender, &recipient)), time);
            }
        }
    }

    /// A message was accepted for a recipient, which is an attempt unless our own line has told of it.
    fn accepted(
        &mut self,
        time: Timestamp,
        (client, mail): (IpAddr, &Mail<'_>),
        recipient: &[u8],
        give: &mut impl FnMut(&Attempt<'_>),
    ) {
        let Mail { host, sender, .. } = *mail;
        let told = if self.told.is_empty() {
            None
        } else {
            self.told.remove(&(client, mail_key(sender, recipient)))
        };
        if told.is_none_or(|told| time.since(told) >= NAMED) {
            give(&Attempt { time, client, host, sender, recipient, accepted: true });
        }
    }
}

fn mail_key(sender: &[u8], recipient: &[u8]) -> Vec<u8> {
    [sender, b"\0", recipient].concat().to_ascii_lowercase()
}
