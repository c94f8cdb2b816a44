//! What a store holds, counted in one scan: for `eximgrey status`, and whoever else has figures to show.

use super::entries::{Entry, Kind};
use super::error::StoreError;
use super::record::{Facts, Record};
use super::scan::each;
use super::{Store, Table, is_own};
use crate::identity::is_private;
use crate::policy::has_proved_itself;
use crate::reply::By;
use crate::rules::Rules;
use crate::time::Timestamp;
use ipnetwork::IpNetwork;

/// What has not expired, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Triplets that have passed. A triplet has a record for each of its identities, and counts once.
    pub triplets: u64,
    /// Triplets that wait for their retry.
    pub first_attempts: u64,
    /// Client identities that have passed.
    pub identities: u64,
    /// Those of them that have proved themselves.
    pub proved: u64,
    /// Networks among those that no client on the Internet has.
    pub proved_private: Vec<String>,
    /// Entries of the whitelist.
    pub whitelisted: u64,
    /// Addresses and domains that our users wrote to.
    pub replied: u64,
    /// Releases.
    pub released: u64,
    /// Client networks that are trapped.
    pub trapped: u64,
    /// The table of what is known.
    pub known: TableSurvey,
    /// The table of first attempts; all zeros where there is none yet.
    pub pending: TableSurvey,
}

/// A table as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSurvey {
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
        survey.known = survey.count(self, Table::Known, rules, now)?;
        survey.pending = survey.count(self, Table::Pending, rules, now)?;
        Ok(survey)
    }
}

impl Survey {
    fn count(
        &mut self,
        store: &Store,
        table: Table,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<TableSurvey, StoreError> {
        let Some(env) = store.table(table)? else { return Ok(TableSurvey::default()) };
        let mut table = TableSurvey { bytes: env.used_bytes(), ..TableSurvey::default() };
        each(env, |key, value| {
            let (record, entry) = (Record::decode(value), Entry::decode(value));
            let expires = record.as_ref().map(|r| r.expires).or(entry.as_ref().map(|e| e.expires));
            match expires {
                None => table.unreadable += u64::from(!is_own(key)),
                Some(expires) if expires < now => table.expired += 1,
                Some(_) => {
                    record.iter().for_each(|record| self.add(record, rules, now));
                    entry.iter().for_each(|entry| self.add_entry(entry.kind));
                }
            }
            true
        })?;
        Ok(table)
    }

    fn add(&mut self, record: &Record, rules: &Rules, now: Timestamp) {
        // There is always one for the network.
        let triplet = u64::from(record.by == By::Network);
        match record.facts {
            // What has passed waits no more.
            Facts::Pending { record, .. } => {
                self.first_attempts += triplet * u64::from(record.passed.is_none())
            }
            Facts::Known(_) => self.triplets += triplet,
            Facts::Identity(earned) => {
                self.identities += 1;
                if has_proved_itself(rules, &earned, now) {
                    self.proved += 1;
                    self.proved_private.extend(private_network(record));
                }
            }
        }
    }

    fn add_entry(&mut self, kind: Kind) {
        *match kind {
            Kind::Listed(_) => &mut self.whitelisted,
            Kind::Replied | Kind::RepliedDomain | Kind::JustSent => &mut self.replied,
            Kind::Released => &mut self.released,
            Kind::Trap => &mut self.trapped,
        } += 1;
    }
}

/// The network of a record, as it is shown, if it is a private one. `None` where the store keeps no texts.
fn private_network(record: &Record) -> Option<String> {
    let text = std::str::from_utf8(&record.texts.identity).ok().filter(|_| record.by == By::Network)?;
    let network: IpNetwork = text.parse().ok()?;
    is_private(network.ip()).then(|| text.to_owned())
}
