//! The way of a decision: read, decide, and where that changes something, read and decide again under the writer's
//! lock. So of many who ask about one triplet at the same moment, one counts and the others see what it did.

use super::error::StoreError;
use super::lmdb::{Env, Patience, Trouble, Writer};
use super::record::{self, Facts, Record, Texts};
use super::standing::{Standing, Summary};
use super::{Access, Store};
use crate::identity::Identity;
use crate::policy::{
    Change, Evidence, Found, Known, KnownEvidence, KnownSide, Pending, Places, Step, Verdict,
};
use crate::policy::{count_pass, decide};
use crate::rules::Rules;
use crate::time::Timestamp;
use crate::triplet::{IdentityKeys, Key, Triplet};
use crate::whitelist::{ListKind, sender_is_authenticated};

/// One question to the store.
pub(super) struct Call<'a> {
    pub(super) triplet: &'a Triplet<'a>,
    pub(super) keys: &'a [IdentityKeys],
    pub(super) rules: &'a Rules,
    pub(super) now: Timestamp,
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
        let _under_way = self.begin(call.keys, now)?;
        let versions = self.versions();
        let (mut verdict, mut change) = self.look(&call, access)?;
        // A second round is needed only when somebody else was faster, a third when that happens twice.
        for _ in 0..3 {
            (verdict, change) = match change {
                Change::None => break,
                _ if !access.records(&verdict) => break,
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
    pub fn evidence(
        &self,
        triplet: &Triplet<'_>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Evidence, StoreError> {
        let call = Call { triplet, keys: &triplet.keys(self.secret()), rules, now };
        Ok(Evidence {
            known: Some(call.read_known(self, true)?),
            pending: Some(self.read_pending(&call, Access::Look)?),
            came_back: triplet.came_back,
        })
    }

    fn look(&self, call: &Call<'_>, access: Access) -> Result<Decision, StoreError> {
        call.decide(|| call.read_known(self, false), || self.read_pending(call, access))
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
                    || Ok(call.read_known(self, false)?),
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
                || Ok(call.known_side(self, false, |key| writer.get(key))?),
                || Ok(self.read_pending(call, Access::Record)?),
            )?;
            let (verdict, Change::Admit { first_seen, counts }) = decision else {
                return Ok((decision, false));
            };
            call.put_known(self, writer, first_seen, counts)?;
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
        read_known: impl Fn() -> Result<KnownSide, E>,
        read_pending: impl Fn() -> Result<Vec<Found<Pending>>, E>,
    ) -> Result<Decision, E> {
        let mut evidence = Evidence { came_back: self.triplet.came_back, ..Evidence::default() };
        loop {
            match decide(self.rules, false, &evidence, self.now) {
                Step::ReadKnown => evidence.known = Some(read_known()?),
                Step::ReadPending => evidence.pending = Some(read_pending()?),
                Step::Answer(verdict, change) => return Ok((verdict, change)),
            }
        }
    }

    /// What the known records say; `whole`: also what is not needed to decide.
    fn read_known(&self, store: &Store, whole: bool) -> Result<KnownSide, StoreError> {
        store.known.read(|snapshot| self.known_side(store, whole, |key| snapshot.get(key)))
    }

    fn known_side<'t>(
        &self,
        store: &Store,
        whole: bool,
        get: impl Fn(&[u8]) -> lmdb::Result<Option<&'t [u8]>>,
    ) -> lmdb::Result<KnownSide> {
        let read = |(identity, keys): (&Identity, &IdentityKeys)| {
            let known = record::known(get(&keys.known.0)?);
            Ok(KnownEvidence { by: identity.by(), earned: Found::Absent, known })
        };
        let mut identities: Vec<KnownEvidence> =
            self.triplet.identities.iter().zip(self.keys).map(read).collect::<lmdb::Result<_>>()?;
        // A known triplet needs no more. In a large store each look-up is a miss of every cache.
        let open = whole || !identities.iter().any(|e| e.passed(self.rules, self.now).is_some());
        if open {
            for (evidence, keys) in identities.iter_mut().zip(self.keys) {
                evidence.earned = record::earned(get(&keys.identity.0)?);
            }
        }
        let mut side = KnownSide { identities, ..KnownSide::default() };

        // One record says whether there is anything else to look up. Nothing is, where a later version wrote it.
        let summary = get(super::STANDING_KEY)?.and_then(Summary::decode).unwrap_or_default();
        let secret = store.secret();
        let standing = |key: Key| Ok(get(&key.0)?.and_then(Standing::decode));
        for (kind, text) in summary.list.candidates(self.triplet) {
            let Some(entry) = standing(secret.listed(kind, &text))? else { continue };
            let vouched =
                kind != ListKind::Sender || entry.unauthenticated || sender_is_authenticated(self.triplet);
            if entry.until >= self.now && vouched {
                side.whitelisted = Some(kind);
                break;
            }
        }
        if summary.trapped >= self.now
            && let Some(network) = self.keys.first()
        {
            side.trap = standing(secret.trap(network.identity))?.map(|entry| entry.trap());
        }
        if open && summary.replied >= self.now {
            let domain = self.triplet.replied_domain_key(secret).filter(|_| self.rules.replied_domain);
            let just_sent = self.triplet.just_sent_keys(secret);
            for key in just_sent.into_iter().chain([self.triplet.replied_key(secret)]).chain(domain) {
                side.replied = side.replied.max(standing(key)?.map(|entry| entry.leave()));
            }
        }
        if open && summary.released >= self.now {
            for key in self.triplet.released_keys(secret) {
                side.released = side.released.max(standing(key)?.map(|entry| entry.leave()));
            }
        }
        Ok(side)
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

    fn put_known(
        &self,
        store: &Store,
        writer: &mut Writer<'_>,
        first_seen: Timestamp,
        counts: bool,
    ) -> lmdb::Result<()> {
        let expires = self.now.plus(self.rules.keep());
        for (identity, keys) in self.triplet.identities.iter().zip(self.keys) {
            let by = identity.by();
            let earned = record::earned(writer.get(&keys.identity.0)?);
            let before = earned.here().copied();
            let after = count_pass(self.rules, before, self.now);
            let counted = counts && before.is_none_or(|before| before.passes != after.passes);
            if counts && earned != Found::Unreadable {
                let texts =
                    Texts { sender: Vec::new(), recipient: Vec::new(), ..self.texts(store, identity) };
                let record = Record { by, expires, facts: Facts::Identity(after), texts };
                writer.put(&keys.identity.0, &record.encode())?;
            }
            // A release admits without regard to what stands there; a record of a later version stays.
            if record::known(writer.get(&keys.known.0)?) == Found::Unreadable {
                continue;
            }
            let facts = Facts::Known(Known { first_seen, passed: self.now, last_seen: self.now, counted });
            let record = Record { by, expires, facts, texts: self.texts(store, identity) };
            writer.put(&keys.known.0, &record.encode())?;
            writer.tidy(&keys.known, self.now, None)?;
        }
        if !counts {
            // A release is for one mail. That of a whole network stays until it lapses.
            for key in self.triplet.released_keys(store.secret()).iter().take(2) {
                writer.delete(&key.0)?;
            }
        }
        Ok(())
    }

    /// Renews the last-seen times of what is known of this triplet.
    pub(super) fn renew(&self, store: &Store, writer: &mut Writer<'_>) -> Result<(), Trouble> {
        let expires = self.now.plus(self.rules.keep());
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

/// A quarter of a key: enough to tell networks apart on one page.
fn fold(key: &Key) -> u32 {
    key.0.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
