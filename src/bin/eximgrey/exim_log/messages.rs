//! Messages that have arrived and are not yet dealt with. Exim's default log names the recipients where they are
//! delivered, and the sender where the message arrives.

use super::Mail;
use eximgrey::time::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// The most messages that are remembered. A queue of so many is rare; of the oldest the deliveries are missed.
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
    /// Those that have been named.
    pub recipients: Vec<Vec<u8>>,
}

impl Messages {
    pub fn arrived(&mut self, id: &[u8], time: Timestamp, mail: &Mail<'_>, recipients: Vec<Vec<u8>>) {
        let Mail { client, host, sender, authenticated } = *mail;
        let (host, sender) = (host.map(<[u8]>::to_vec), sender.to_vec());
        self.open.insert(id.to_vec(), Message { time, client, host, sender, authenticated, recipients });
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
        let news = !message.recipients.iter().any(|known| known.eq_ignore_ascii_case(recipient));
        if news {
            message.recipients.push(recipient.to_vec());
        }
        Some((message, news))
    }

    /// It is dealt with.
    pub fn completed(&mut self, id: &[u8]) {
        self.open.remove(id);
        while self.order.front().is_some_and(|id| !self.open.contains_key(id)) {
            self.order.pop_front();
        }
    }

    /// All that are still there.
    pub fn rest(self) -> impl Iterator<Item = (Vec<u8>, Message)> {
        self.open.into_iter()
    }
}
