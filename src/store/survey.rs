//! What a store holds, counted in one scan: for `eximgrey status`, and whoever else has figures to show.

use super::error::StoreError;
use super::lmdb::Env;
use super::record::{Facts, Record};
use super::scan::each;
use super::standing::{Kind, Standing};
use super::{Access, META_KEY, STANDING_KEY, Store};
use crate::policy::Rules;
use crate::reply::By;
use crate::time::Timestamp;

/// What has not expired, by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Triplets that have passed. A triplet has a record for each of its identities, and counts once.
    pub triplets: u64,
    /// Triplets that wait for their retry.
    pub first_attempts: u64,
    /// Client identities that have passed.
    pub identities: u64,
    /// Those of them that have proved themselves.
    pub proved: u64,
    /// Entries of the whitelist.
    pub whitelisted: u64,
    /// Addresses and domains that our users wrote to.
    pub replied: u64,
    /// Releases.
    pub released: u64,
    /// Client networks that are trapped.
    pub trapped: u64,
    /// The table of what is known.
    pub known: Table,
    /// The table of first attempts; all zeros where there is none yet.
    pub pending: Table,
}

/// A table as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Bytes in use.
    pub bytes: u64,
    /// Records that have expired, and wait to be tidied away.
    pub expired: u64,
    /// Records of a version or kind that this library does not know.
    pub unreadable: u64,
}

impl Store {
    /// Counts what there is. No transaction stays open for long.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn survey(&self, rules: &Rules, now: Timestamp) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        survey.known = survey.count(&self.known, rules, now)?;
        if let Some(pending) = self.pending(Access::Look)? {
            survey.pending = survey.count(pending, rules, now)?;
        }
        Ok(survey)
    }
}

impl Survey {
    fn count(&mut self, env: &Env, rules: &Rules, now: Timestamp) -> Result<Table, StoreError> {
        let mut table = Table { bytes: env.used_bytes(), ..Table::default() };
        each(env, |key, value| {
            let (record, standing) = (Record::decode(value), Standing::decode(value));
            let expires = record.as_ref().map(|r| r.expires).or(standing.as_ref().map(|s| s.expires));
            match expires {
                None => table.unreadable += u64::from(key != META_KEY && key != STANDING_KEY),
                Some(expires) if expires < now => table.expired += 1,
                Some(_) => {
                    record.iter().for_each(|record| self.add(record, rules));
                    standing.iter().for_each(|standing| self.add_standing(standing.kind));
                }
            }
            true
        })?;
        Ok(table)
    }

    fn add(&mut self, record: &Record, rules: &Rules) {
        // There is always one for the network.
        let triplet = u64::from(record.by == By::Network);
        match record.facts {
            Facts::Pending { .. } => self.first_attempts += triplet,
            Facts::Known(_) => self.triplets += triplet,
            Facts::Identity(earned) => {
                self.identities += 1;
                self.proved += u64::from(rules.auto_after > 0 && earned.passes >= rules.auto_after);
            }
        }
    }

    fn add_standing(&mut self, kind: Kind) {
        *match kind {
            Kind::Listed(_) => &mut self.whitelisted,
            Kind::Replied | Kind::RepliedDomain | Kind::JustSent => &mut self.replied,
            Kind::Released => &mut self.released,
            Kind::Trap => &mut self.trapped,
        } += 1;
    }
}
