//! The store as a [`Memory`]: what it is asked, and what it is told besides attempts.

use super::entries::{Entry, Kind};
use super::error::StoreError;
use super::record::{self, Facts, Record};
use super::records::StoredRecords;
use super::update::{Update, What, may_enter};
use super::{Store, Table};
use crate::evidence::Earned;
use crate::identity::Identity;
use crate::learned::{Learn, Outcome, Pattern};
use crate::memory::{Event, Finding, Memory, Question, Records, Scope};
use crate::policy::{count_spam, has_proved_itself};
use crate::reply::Effect;
use crate::time::{Seconds, Timestamp};
use crate::triplet::Key;

/// How long mail of a whole registered domain passes to our user who wrote there. A server that verifies our
/// user's address does so while it is offered our message: at our first attempt, or at a retry of the first
/// hour.
const JUST_SENT: Seconds = Seconds::HOUR;

/// How long after that permit was written another message is not worth a write; it lasts for so much longer.
const JUST_SENT_MARGIN: Seconds = Seconds::MINUTE.times(30);

impl Memory for Store {
    type Records<'q> = StoredRecords<'q>;

    fn about<'q>(&'q self, question: &'q Question<'q>) -> Result<StoredRecords<'q>, StoreError> {
        StoredRecords::of(self, question)
    }

    fn tell(&self, event: &Event<'_>) -> Result<Effect, StoreError> {
        match event {
            // What Exim tells is queued, as what is decided is.
            Event::Sent(question) => self.queue_entries(self.permits(question)?, question.now),
            Event::Feedback(question, Finding::Trap) => match self.trap(question)? {
                Some(trap) => {
                    let told = self.queue_entries(vec![trap], question.now)?;
                    self.note_trap(question);
                    Ok(told)
                }
                None => Ok(Effect::Spared),
            },
            Event::Feedback(question, finding) => self.feedback(question, *finding),
            // The administrator waits for it.
            Event::Trap(question) => match self.trap(question)? {
                Some(trap) => {
                    let told = self.enter(vec![trap], question.now)?;
                    self.note_trap(question);
                    Ok(told)
                }
                None => Ok(Effect::Spared),
            },
            Event::Release(question, scope) => self.release(question, *scope),
            Event::List(entry) => self.whitelist(std::slice::from_ref(*entry)),
            Event::Unlist(kind, text) => self.delete(vec![self.secret().listed(*kind, text)]),
            Event::ForgetPair(question) => self.forget_pair(question),
            Event::ForgetClient(identities) => self.forget_client(identities),
        }
    }
}

impl Store {
    /// The permits that our user's message gives, but those that were written lately.
    fn permits(&self, question: &Question<'_>) -> Result<Vec<(Key, Entry)>, StoreError> {
        let Question { triplet, rules, now } = *question;
        let _records = self.about(question)?;
        let secret = self.secret();
        let domain = triplet.replied_domain_key(secret).filter(|_| rules.replied_domain);
        let just_sent = triplet.just_sent_keys(secret).first().copied();
        // As with a known triplet, a message a day is not worth a write to the first two.
        let (lifetime, margin) = (rules.keep(), rules.margin());
        let hour = Seconds(JUST_SENT.0 + JUST_SENT_MARGIN.0);
        let permits = [
            (Some(triplet.replied_key(secret)), Kind::Replied, lifetime, margin),
            (domain, Kind::RepliedDomain, lifetime, margin),
            (just_sent, Kind::JustSent, hour, JUST_SENT_MARGIN),
        ];
        let mut entries = Vec::new();
        self.known.read(|snapshot| {
            for (key, kind, lasts, margin) in permits {
                let Some(key) = key else { continue };
                let until = now.plus(lasts);
                let before = snapshot.get(&key.0)?.and_then(Entry::decode);
                if before.is_none_or(|before| before.until > until || before.until.plus(margin) < until) {
                    let texts = self.texts(String::new(), triplet.sender, triplet.recipient.as_bytes());
                    entries.push((key, Entry::new(kind, now, until, texts.into())));
                }
            }
            Ok(())
        })?;
        Ok(entries)
    }

    /// The trap of the network, unless one of the client's identities has proved itself.
    fn trap(&self, question: &Question<'_>) -> Result<Option<(Key, Entry)>, StoreError> {
        let Question { triplet, rules, now } = *question;
        let records = self.about(question)?;
        let Some((network, keys)) = triplet.identities.first().zip(records.keys.first()) else {
            return Ok(None);
        };
        let proved = self.known.read(|snapshot| {
            let mut earned = Vec::new();
            for keys in &records.keys {
                earned.extend(record::earned(snapshot.get(&keys.identity.0)?).here().copied());
            }
            Ok(earned.iter().any(|earned| has_proved_itself(rules, earned, now)))
        })?;
        if proved {
            return Ok(None);
        }
        let until = now.plus(rules.trap_time);
        let texts = self.texts(network.to_string(), b"", b"");
        // Kept for a window longer: first attempts from before its end do not count.
        let trap =
            Entry { expires: until.plus(rules.window), ..Entry::new(Kind::Trap, now, until, texts.into()) };
        Ok(Some((self.secret().trap(keys.identity), trap)))
    }

    /// Spam and ham are about a triplet that has passed, or a client that has a record; for others nothing is
    /// written.
    fn feedback(&self, question: &Question<'_>, finding: Finding) -> Result<Effect, StoreError> {
        let Question { rules, now, .. } = *question;
        let records = self.about(question)?;
        let side = records.known(true)?;
        let known = side.identities.iter().any(|e| e.passed(rules, now))
            || records.pending()?.identities.iter().any(|p| p.here().is_some_and(|p| p.passed.is_some()));
        let is_spam = finding == Finding::Spam;
        // What was let through without coming back is not counted: of those that come back, it is one in twenty.
        let learns = is_spam && known && rules.learn != Learn::Off;
        if let Some(table) = self.learned().filter(|_| learns) {
            table.count(Pattern::of(question.triplet), Outcome::Spam, now);
        }
        let counts = |earned: &Earned| count_spam(*earned, 0, now) != *earned;
        let blamed = side.identities.iter().filter_map(|e| e.earned.here()).any(counts);
        let matters = known || is_spam && blamed;
        if !matters {
            return Ok(Effect::Nothing);
        }
        let keys = records.keys.clone();
        let update = records.update(if is_spam { What::Spam(keys) } else { What::Ham(keys) });
        self.queue(&update, self.patience())?;
        Ok(Effect::Recorded)
    }

    fn release(&self, question: &Question<'_>, scope: Scope) -> Result<Effect, StoreError> {
        let Question { triplet, rules, now } = *question;
        let records = self.about(question)?;
        let keys = triplet.released_keys(self.secret());
        let network = triplet.identities.first().map_or_else(String::new, ToString::to_string);
        let (place, texts) = match scope {
            Scope::Pair => (0, self.texts(String::new(), triplet.sender, triplet.recipient.as_bytes())),
            Scope::Triplet => (1, self.texts(network, triplet.sender, triplet.recipient.as_bytes())),
            Scope::Network => (2, self.texts(network, b"", b"")),
        };
        let Some(key) = keys.get(place).copied() else { return Ok(Effect::Nothing) };
        let release = Entry::new(Kind::Released, now, now.plus(rules.window), texts.into());
        if let Some(network) = records.keys.first().filter(|_| scope == Scope::Network) {
            self.delete(vec![self.secret().trap(network.identity)])?;
        }
        self.enter(vec![(key, release)], now)
    }

    /// The records of all identities of a pair begin with the same half of a key.
    fn forget_pair(&self, question: &Question<'_>) -> Result<Effect, StoreError> {
        let triplet = question.triplet;
        let _records = self.about(question)?;
        self.carry_all()?;
        let mut keys = vec![triplet.replied_key(self.secret())];
        let pair = triplet.known_pair(self.secret());
        self.known.read(|snapshot| {
            snapshot.each_from(&pair, |key, value| {
                let ours = key.starts_with(&pair);
                if ours && record::known(Some(value)).here().is_some() {
                    keys.extend(key.try_into().map(Key));
                }
                ours
            })
        })?;
        self.delete(keys)
    }

    /// Their triplets are found by their texts, so where the store keeps none, these stay known.
    fn forget_client(&self, identities: &[Identity]) -> Result<Effect, StoreError> {
        self.carry_all()?;
        let mut keys: Vec<Key> = identities.iter().map(|identity| self.secret().identity(identity)).collect();
        let texts: Vec<_> = identities.iter().map(|i| (i.by(), i.to_string().into_bytes())).collect();
        self.scan(Table::Known, |key, Record { by, facts, texts: of, .. }| {
            let is_his = || texts.iter().any(|(kind, text)| *kind == by && *text == of.identity);
            if matches!(facts, Facts::Known(_)) && is_his() {
                keys.push(key);
            }
            true
        })?;
        // No transaction may grow with the number of records.
        let mut told = Effect::Nothing;
        for some in keys.chunks(256) {
            if self.delete(some.to_vec())? == Effect::Recorded {
                told = Effect::Recorded;
            }
        }
        Ok(told)
    }

    fn queue_entries(&self, entries: Vec<(Key, Entry)>, now: Timestamp) -> Result<Effect, StoreError> {
        if entries.is_empty() {
            return Ok(Effect::Nothing);
        }
        // Whoever carries them would leave what a later version wrote as it is, and nobody would know.
        self.known.read(|snapshot| {
            entries.iter().try_for_each(|(key, _)| may_enter(key, |key| snapshot.get(key)))
        })?;
        self.queue(&Update { now, keep: Seconds(0), what: What::Enter(entries) }, self.patience())?;
        Ok(Effect::Recorded)
    }

    pub(super) fn enter(&self, entries: Vec<(Key, Entry)>, now: Timestamp) -> Result<Effect, StoreError> {
        self.write(&Update { now, keep: Seconds(0), what: What::Enter(entries) })
    }

    fn delete(&self, keys: Vec<Key>) -> Result<Effect, StoreError> {
        self.write(&Update { now: Timestamp(0), keep: Seconds(0), what: What::Delete(keys) })
    }

    /// Writes an update at once, after all that was queued before it.
    fn write(&self, update: &Update) -> Result<Effect, StoreError> {
        self.carry_all()?;
        self.known.write(self.patience(), |writer| update.write(writer, self))
    }
}
