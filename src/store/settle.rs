//! The way of a decision: read, decide, and where that changes something, read and decide again under the writer's
//! lock. So of many who ask about one triplet at the same moment, one counts and the others see what it did.

use super::error::StoreError;
use super::lmdb::{Env, Patience, Trouble, Writer};
use super::record::{self, Facts, Record, Texts};
use super::{Access, Store};
use crate::identity::Identity;
use crate::policy::{Change, Evidence, Found, Known, KnownEvidence, Pending, Places, Rules, Step, Verdict};
use crate::policy::{count_pass, decide};
use crate::time::Timestamp;
use crate::triplet::{IdentityKeys, Key, Triplet};

/// One question to the store.
struct Call<'a> {
    triplet: &'a Triplet<'a>,
    keys: &'a [IdentityKeys],
    rules: &'a Rules,
    now: Timestamp,
}

type Decision = (Verdict, Change);

/// The last commits of `known` and `pending`: what was read after them still holds while they are the last.
type Versions = [usize; 2];

impl Store {
    /// Decides about a triplet by `rules`, and records it if `access` says so.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is recorded then.
    pub fn settle(
        &self,
        triplet: &Triplet<'_>,
        rules: &Rules,
        access: Access,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let call = Call { triplet, keys: &triplet.keys(self.secret()), rules, now };
        let versions = self.versions();
        let (mut verdict, mut change) = self.look(&call, access)?;
        // A second round is needed only when somebody else was faster, a third when that happens twice.
        for _ in 0..3 {
            (verdict, change) = match change {
                Change::None => break,
                _ if access == Access::Look => break,
                Change::Renew => {
                    // The answer stands, whether or not the lock is free for it.
                    let _ = self.known.write(Patience::None, |writer| call.renew(self, writer));
                    break;
                }
                Change::Pend { .. } => self.pend(&call, (verdict, change), versions)?,
                Change::Admit { .. } => self.admit(&call)?,
            };
        }
        Ok(verdict)
    }

    /// What has been read for a decision, whole: for `eximgrey explain`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn evidence(&self, triplet: &Triplet<'_>) -> Result<Evidence, StoreError> {
        let keys = triplet.keys(self.secret());
        let call = Call { triplet, keys: &keys, rules: &Rules::default(), now: Timestamp(0) };
        Ok(Evidence {
            known: Some(call.read_known(&self.known)?),
            pending: Some(self.read_pending(&call, Access::Look)?),
        })
    }

    fn look(&self, call: &Call<'_>, access: Access) -> Result<Decision, StoreError> {
        call.decide(|| call.read_known(&self.known), || self.read_pending(call, access))
    }

    fn read_pending(&self, call: &Call<'_>, access: Access) -> Result<Vec<Found<Pending>>, StoreError> {
        match self.pending(access)? {
            Some(pending) => pending.read(|snapshot| call.pending_evidence(|key| snapshot.get(key))),
            None => Ok(vec![Found::Absent; call.keys.len()]),
        }
    }

    fn versions(&self) -> Versions {
        [Some(&self.known), self.pending.get()].map(|env| env.map_or(0, Env::version))
    }

    /// Writes first attempts, if that is still what is to be done under the lock. The known records count there too: who
    /// admits a triplet deletes its first attempts afterwards, and a look may have missed both.
    fn pend(&self, call: &Call<'_>, decision: Decision, versions: Versions) -> Result<Decision, StoreError> {
        let Some(pending) = self.pending(Access::Record)? else {
            return Ok(decision);
        };
        pending.write(self.patience(), |writer| {
            // Where nobody has written since, the decision stands as it is.
            let decision = if self.versions() == versions {
                decision
            } else {
                call.decide::<Trouble>(
                    || Ok(call.read_known(&self.known)?),
                    || Ok(call.pending_evidence(|key| writer.get(key))?),
                )?
            };
            let (verdict, Change::Pend { first_seen, places }) = decision else {
                return Ok(decision);
            };
            call.put_pending(self, writer, first_seen, places)?;
            Ok((verdict, Change::None))
        })
    }

    /// Makes the triplet known and counts its identities, if that is still what is to be done under the lock.
    fn admit(&self, call: &Call<'_>) -> Result<Decision, StoreError> {
        let (decision, admitted) = self.known.write(self.patience(), |writer| {
            let decision = call.decide::<Trouble>(
                || Ok(call.known_evidence(|key| writer.get(key))?),
                || Ok(self.read_pending(call, Access::Record)?),
            )?;
            let (verdict, Change::Admit { first_seen }) = decision else {
                return Ok((decision, false));
            };
            call.put_known(self, writer, first_seen)?;
            Ok(((verdict, Change::None), true))
        })?;
        if admitted && let Some(pending) = self.pending(Access::Look)? {
            // They would expire by themselves; gone at once, they are not listed as waiting.
            let _ = pending.write(Patience::None, |writer| {
                for keys in call.keys {
                    writer.delete(&keys.pending.0)?;
                }
                Ok(())
            });
        }
        Ok(decision)
    }
}

impl Call<'_> {
    /// Asks the policy, reading what it wants to see.
    fn decide<E>(
        &self,
        read_known: impl Fn() -> Result<Vec<KnownEvidence>, E>,
        read_pending: impl Fn() -> Result<Vec<Found<Pending>>, E>,
    ) -> Result<Decision, E> {
        let mut evidence = Evidence::default();
        loop {
            match decide(self.rules, false, &evidence, self.now) {
                Step::ReadKnown => evidence.known = Some(read_known()?),
                Step::ReadPending => evidence.pending = Some(read_pending()?),
                Step::Answer(verdict, change) => return Ok((verdict, change)),
            }
        }
    }

    fn read_known(&self, known: &Env) -> Result<Vec<KnownEvidence>, StoreError> {
        known.read(|snapshot| self.known_evidence(|key| snapshot.get(key)))
    }

    fn known_evidence<'t>(
        &self,
        get: impl Fn(&[u8]) -> lmdb::Result<Option<&'t [u8]>>,
    ) -> lmdb::Result<Vec<KnownEvidence>> {
        let read = |(identity, keys): (&Identity, &IdentityKeys)| {
            Ok(KnownEvidence {
                by: identity.by(),
                earned: record::earned(get(&keys.identity.0)?),
                known: record::known(get(&keys.known.0)?),
            })
        };
        self.triplet.identities.iter().zip(self.keys).map(read).collect()
    }

    fn pending_evidence<'t>(
        &self,
        get: impl Fn(&[u8]) -> lmdb::Result<Option<&'t [u8]>>,
    ) -> lmdb::Result<Vec<Found<Pending>>> {
        self.keys.iter().map(|keys| Ok(record::pending(get(&keys.pending.0)?))).collect()
    }

    fn put_pending(
        &self,
        store: &Store,
        writer: &mut Writer<'_>,
        first_seen: Timestamp,
        places: Places,
    ) -> lmdb::Result<()> {
        let network = self.keys.first().map_or(0, |keys| fold(&keys.identity));
        for (place, (identity, keys)) in self.triplet.identities.iter().zip(self.keys).enumerate() {
            if places.holds(place) {
                let ripe = first_seen.plus(self.rules.delay);
                let record = Record {
                    by: identity.by(),
                    expires: first_seen.plus(self.rules.window),
                    facts: Facts::Pending { record: Pending { first_seen }, ripe, network },
                    texts: self.texts(store, identity),
                };
                writer.put(&keys.pending.0, &record.encode())?;
                writer.tidy(&keys.pending, self.now, Some(store.settings.max_pending))?;
            }
        }
        Ok(())
    }

    fn put_known(&self, store: &Store, writer: &mut Writer<'_>, first_seen: Timestamp) -> lmdb::Result<()> {
        let expires = self.now.plus(self.rules.lifetime);
        for (identity, keys) in self.triplet.identities.iter().zip(self.keys) {
            let by = identity.by();
            let facts = Facts::Known(Known { first_seen, passed: self.now, last_seen: self.now });
            let record = Record { by, expires, facts, texts: self.texts(store, identity) };
            writer.put(&keys.known.0, &record.encode())?;
            writer.tidy(&keys.known, self.now, None)?;

            let earned = match record::earned(writer.get(&keys.identity.0)?) {
                Found::Unreadable => continue,
                Found::Absent => None,
                Found::Here(earned) => Some(earned),
            };
            let facts = Facts::Identity(count_pass(self.rules, earned, self.now));
            let texts = Texts { sender: Vec::new(), recipient: Vec::new(), ..self.texts(store, identity) };
            writer.put(&keys.identity.0, &Record { by, expires, facts, texts }.encode())?;
        }
        Ok(())
    }

    /// Renews the last-seen times of what is known of this triplet.
    fn renew(&self, store: &Store, writer: &mut Writer<'_>) -> Result<(), Trouble> {
        let expires = self.now.plus(self.rules.lifetime);
        for key in self.keys.iter().flat_map(|keys| [keys.identity, keys.known]) {
            let Some(mut record) = writer.get(&key.0)?.and_then(Record::decode) else {
                continue;
            };
            match &mut record.facts {
                Facts::Known(known) => known.last_seen = self.now,
                Facts::Identity(earned) => earned.last_seen = self.now,
                Facts::Pending { .. } => continue,
            }
            if store.settings.privacy {
                record.texts = Texts::default();
            }
            writer.put(&key.0, &Record { expires, ..record }.encode())?;
        }
        Ok(())
    }

    fn texts(&self, store: &Store, identity: &Identity) -> Texts {
        if store.settings.privacy {
            return Texts::default();
        }
        Texts {
            identity: identity.to_string().into_bytes(),
            sender: self.triplet.sender.to_vec(),
            recipient: self.triplet.recipient.as_bytes().to_vec(),
            cut: false,
        }
    }
}

/// Half of a half of a key: enough to tell networks apart on one page.
fn fold(key: &Key) -> u32 {
    key.0.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
