//! Messages that have arrived and are not yet dealt with. Exim's default log names the recipients where they are
//! delivered, and the sender where the message arrives.

use super::Mail;
use eximgrey::time::Timestamp;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;

/// The most messages that are remembered, from the oldest on that is still to be dealt with: of that one the deliveries are
/// missed then.
const MOST: usize = 200_000;

#[derive(Default)]
pub struct Messages {
    open: HashMap<Vec<u8>, Message>,
    order: VecDeque<Vec<u8>>,
}

/// Who sent it, and when.
#[derive(Clone, Debug)]
pub struct Message {
    pub time: Timestamp,
    pub client: Option<IpAddr>,
    pub host: Option<Vec<u8>>,
    pub sender: Vec<u8>,
    pub authenticated: bool,
    pub unclear: bool,
    /// Those that have been named, in small letters.
    pub recipients: HashSet<Vec<u8>>,
}

impl Messages {
    pub fn arrived(&mut self, id: &[u8], time: Timestamp, mail: &Mail<'_>, recipients: &[Vec<u8>]) {
        let Mail { client, host, sender, authenticated, unclear } = *mail;
        let (host, sender) = (host.map(<[u8]>::to_vec), sender.to_vec());
        let recipients = recipients.iter().map(|recipient| recipient.to_ascii_lowercase()).collect();
        self.open
            .insert(id.to_vec(), Message { time, client, host, sender, authenticated, unclear, recipients });
        self.order.push_back(id.to_vec());
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.open.remove(&oldest);
            }
        }
    }

    /// A recipient of a message was named; `None` if the message is not known. `true`: for the first time.
    pub fn named(&mut self, id: &[u8], recipient: &[u8]) -> Option<(&Message, bool)> {
        let message = self.open.get_mut(id)?;
        let news = message.recipients.insert(recipient.to_ascii_lowercase());
        Some((message, news))
    }

    /// It is dealt with.
    pub fn completed(&mut self, id: &[u8]) -> Option<Message> {
        let message = self.open.remove(id);
        while self.order.front().is_some_and(|id| !self.open.contains_key(id)) {
            self.order.pop_front();
        }
        message
    }

    /// All that are still there.
    pub fn rest(self) -> impl Iterator<Item = (Vec<u8>, Message)> {
        self.open.into_iter()
    }
}

impl Message {
    pub fn mail(&self) -> Mail<'_> {
        let Self { client, host, sender, authenticated, unclear, .. } = self;
        let (client, authenticated, unclear) = (*client, *authenticated, *unclear);
        Mail { client, host: host.as_deref(), sender, authenticated, unclear }
    }
}
