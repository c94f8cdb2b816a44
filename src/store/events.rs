//! What the store is told besides attempts: that our user wrote to somebody, what later checks found, and what the
//! administrator releases, traps and lists.

use super::error::StoreError;
use super::lmdb::{Trouble, Writer};
use super::record::{self, Facts, Record};
use super::settle::Call;
use super::standing::{Kind, Standing, Summary};
use super::{STANDING_KEY, Store};
use crate::policy::{Earned, Found, count_pass, has_proved_itself};
use crate::reply::Result as Told;
use crate::rules::Rules;
use crate::time::{Seconds, Timestamp};
use crate::triplet::{IdentityKeys, Key, Triplet};
use crate::whitelist::ListKind;
use crate::words;

words! {
    /// What later checks found.
    Finding {
        /// Spam: what the triplet earned is taken back.
        Spam = "spam",
        /// No spam: what the triplet earned is confirmed.
        Ham = "ham",
        /// A recipient that nobody writes to: the client's network is trapped.
        Trap = "trap",
    }
}

/// Which mail is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The triplet's sender and recipient, from whatever client.
    Pair,
    /// The same, from the triplet's network.
    Triplet,
    /// All mail of the triplet's network.
    Network,
}

/// How long mail of a whole registered domain passes to our user who wrote there. A server that verifies our user's
/// address does so while it is offered our message: at our first attempt, or at a retry of the first hour.
const JUST_SENT: Seconds = Seconds::HOUR;

/// How long after that leave was written another message is not worth a write; it lasts for so much longer.
const JUST_SENT_MARGIN: Seconds = Seconds::MINUTE.times(30);

impl Store {
    /// Our user wrote to the sender of `triplet` (whose recipient our user is): mail the other way passes for the lifetime,
    /// and from the whole registered domain for an hour.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn sent(&self, triplet: &Triplet<'_>, rules: &Rules, now: Timestamp) -> Result<Told, StoreError> {
        let _under_way = self.begin(&[], now)?;
        let secret = self.secret();
        let domain = triplet.replied_domain_key(secret).filter(|_| rules.replied_domain);
        let just_sent = triplet.just_sent_keys(secret).first().copied();
        // As with a known triplet, a message a day is not worth a write to the first two.
        let (lifetime, margin) = (rules.keep(), rules.margin());
        let hour = Seconds(JUST_SENT.0 + JUST_SENT_MARGIN.0);
        let leaves = [
            (Some(triplet.replied_key(secret)), Kind::Replied, lifetime, margin),
            (domain, Kind::RepliedDomain, lifetime, margin),
            (just_sent, Kind::JustSent, hour, JUST_SENT_MARGIN),
        ];
        self.known.write(self.patience(), |writer| {
            let mut written = Told::Nothing;
            for (key, kind, lasts, margin) in leaves {
                let Some(key) = key else { continue };
                let until = now.plus(lasts);
                let before = writer.get(&key.0)?.and_then(Standing::decode);
                if before.is_some_and(|before| before.until <= until && before.until.plus(margin) >= until) {
                    continue;
                }
                let texts = self.pair_texts(triplet, "");
                put(writer, &key, &standing(kind, now, until, texts), now)?;
                written = Told::Recorded;
            }
            Ok(written)
        })
    }

    /// Later checks found something about mail of `triplet`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn feedback(
        &self,
        triplet: &Triplet<'_>,
        rules: &Rules,
        finding: Finding,
        now: Timestamp,
    ) -> Result<Told, StoreError> {
        let keys = triplet.keys(self.secret());
        let _under_way = self.begin(&keys, now)?;
        let call = Call { triplet, keys: &keys, rules, now };
        match finding {
            Finding::Spam => self.known.write(self.patience(), |writer| take_back(&call, writer)),
            Finding::Ham => self.known.write(self.patience(), |writer| call.confirm(self, writer)),
            Finding::Trap => self.trap(triplet, rules, now),
        }
    }

    /// Traps the network of `triplet`, unless one of its identities has proved itself.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn trap(&self, triplet: &Triplet<'_>, rules: &Rules, now: Timestamp) -> Result<Told, StoreError> {
        let keys = triplet.keys(self.secret());
        let _under_way = self.begin(&keys, now)?;
        let Some(network) = keys.first() else { return Ok(Told::Nothing) };
        let until = now.plus(rules.trap_time);
        let text = triplet.identities.first().map_or_else(String::new, ToString::to_string);
        self.known.write(self.patience(), |writer| {
            for keys in &keys {
                if let Found::Here(earned) = record::earned(writer.get(&keys.identity.0)?)
                    && has_proved_itself(rules, &earned, now)
                {
                    return Ok(Told::Spared);
                }
            }
            let texts = if self.settings.privacy {
                Default::default()
            } else {
                [text.clone().into(), vec![], vec![]]
            };
            // Kept for a window longer: first attempts from before its end do not count.
            let trap =
                Standing { expires: until.plus(rules.window), ..standing(Kind::Trap, now, until, texts) };
            put(writer, &self.secret().trap(network.identity), &trap, now)?;
            Ok(Told::Recorded)
        })
    }

    /// Lets the next retry of some mail pass, for the retry window; a release of a network lifts its trap too.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn release(
        &self,
        triplet: &Triplet<'_>,
        scope: Scope,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Told, StoreError> {
        let keys = triplet.released_keys(self.secret());
        let place = match scope {
            Scope::Pair => 0,
            Scope::Triplet => 1,
            Scope::Network => 2,
        };
        let Some(key) = keys.get(place).copied() else { return Ok(Told::Nothing) };
        let network = triplet.identities.first().filter(|_| scope != Scope::Pair);
        let trap = network.map(|network| self.secret().trap(self.secret().identity(network)));
        let text = network.map_or_else(String::new, ToString::to_string);
        let mut texts = self.pair_texts(triplet, &text);
        if scope == Scope::Network {
            texts = if self.settings.privacy { Default::default() } else { [text.into(), vec![], vec![]] };
        }
        let release = standing(Kind::Released, now, now.plus(rules.window), texts);
        self.known.write(self.patience(), |writer| {
            if let Some(trap) = trap.filter(|_| scope == Scope::Network) {
                writer.delete(&trap.0)?;
            }
            put(writer, &key, &release, now)?;
            Ok(Told::Recorded)
        })
    }

    /// Adds an entry, in its canonical form, to the whitelist, or replaces it.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn list(&self, entry: &Standing, now: Timestamp) -> Result<(), StoreError> {
        let Kind::Listed(kind) = entry.kind else { return Ok(()) };
        let [text, ..] = &entry.texts;
        let key = self.secret().listed(kind, text);
        self.known.write(self.patience(), |writer| put(writer, &key, entry, now))
    }

    /// Removes an entry, in its canonical form, from the whitelist; says whether it was there.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn unlist(&self, kind: ListKind, text: &[u8]) -> Result<bool, StoreError> {
        let key = self.secret().listed(kind, text);
        self.known.write(self.patience(), |writer| {
            let there = writer.get(&key.0)?.is_some();
            writer.delete(&key.0)?;
            Ok(there)
        })
    }

    fn pair_texts(&self, triplet: &Triplet<'_>, identity: &str) -> [Vec<u8>; 3] {
        if self.settings.privacy {
            return Default::default();
        }
        [identity.into(), triplet.sender.to_vec(), triplet.recipient.as_bytes().to_vec()]
    }
}

/// A record that counts, and is kept, until a moment.
#[must_use]
pub fn standing(kind: Kind, since: Timestamp, until: Timestamp, texts: [Vec<u8>; 3]) -> Standing {
    Standing { kind, unauthenticated: false, since, expires: until, until, texts }
}

/// Writes a standing record, and makes sure that the summary knows of it. What a later version wrote in the place of either
/// is not overwritten.
fn put(writer: &mut Writer<'_>, key: &Key, standing: &Standing, now: Timestamp) -> Result<(), Trouble> {
    let summary = match writer.get(STANDING_KEY)? {
        None => Some(Summary::default()),
        Some(bytes) => Summary::decode(bytes),
    };
    let ours = writer.get(&key.0)?.is_none_or(|bytes| Standing::decode(bytes).is_some());
    let Some(before) = summary.filter(|_| ours) else {
        return Err(Trouble::Lmdb(lmdb::Error::VersionMismatch));
    };
    writer.put(&key.0, &standing.encode())?;
    let mut after = before;
    after.add(standing);
    if after != before {
        writer.put(STANDING_KEY, &after.encode())?;
    }
    Ok(writer.tidy(key, now, None)?)
}

/// Takes back what the triplet earned: it is known no longer, and the identities that were counted for it lose that
/// count.
fn take_back(call: &Call<'_>, writer: &mut Writer<'_>) -> Result<Told, Trouble> {
    let mut told = Told::Nothing;
    for IdentityKeys { identity, known, .. } in call.keys {
        let Found::Here(record) = record::known(writer.get(&known.0)?) else { continue };
        writer.delete(&known.0)?;
        told = Told::Recorded;
        let Some(mut earned) = writer.get(&identity.0)?.and_then(Record::decode).filter(|_| record.counted)
        else {
            continue;
        };
        let Facts::Identity(passes) = &mut earned.facts else { continue };
        *passes = Earned { passes: passes.passes.saturating_sub(1), ..*passes };
        if passes.passes == 0 {
            writer.delete(&identity.0)?;
        } else {
            writer.put(&identity.0, &earned.encode())?;
        }
    }
    Ok(told)
}

impl Call<'_> {
    /// Confirms what the triplet earned: it and its identities are seen now, and these are counted, once an hour.
    fn confirm(&self, store: &Store, writer: &mut Writer<'_>) -> Result<Told, Trouble> {
        let mut told = Told::Nothing;
        for IdentityKeys { identity, known, .. } in self.keys {
            if !matches!(record::known(writer.get(&known.0)?), Found::Here(_)) {
                continue;
            }
            told = Told::Recorded;
            let Some(mut record) = writer.get(&identity.0)?.and_then(Record::decode) else { continue };
            if let Facts::Identity(earned) = &mut record.facts {
                *earned = count_pass(self.rules, Some(*earned), self.now);
                writer.put(&identity.0, &record.encode())?;
            }
        }
        if told == Told::Recorded {
            self.renew(store, writer)?;
        }
        Ok(told)
    }
}
