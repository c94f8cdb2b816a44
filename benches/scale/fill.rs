//! Fills a store with known triplets.
//!
//! Through the store's own environment, records and keys, without a flush, and many inserts in a transaction: one by one, ten
//! million would take an hour. What comes of it lies as in production, where keys come in no order: a round adds a
//! tenth to what is there, spread over all pages, so a page gets about six records in a round, as chance would have it.
//! Within a round the order is that of the keys, so that a transaction touches few pages. A fill in one order of keys would
//! leave every page half full. `alike` in main.rs compares the result with that of decisions one by one.

use crate::Host;
use crate::mail::Mail;
use eximgrey::evidence::{Earned, Known};
use eximgrey::memory::Access;
use eximgrey::reply::By;
use eximgrey::settings::Settings;
use eximgrey::store::Store;
use eximgrey::store::lmdb::{Durability, Env, Patience, Purpose};
use eximgrey::store::record::{Facts, Record, Texts};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Key;

/// Every second triplet and network expires after this, the others after the lifetime.
pub const SOON: Seconds = Seconds::HOUR;

/// A process that fills the store and prints how many bytes the file of its known triplets takes.
pub fn run(host: &Host) {
    let settings = Settings::load(Some(&host.config())).unwrap().store;
    let now = Timestamp::now();
    let store = Store::open(&settings, Access::Record, now).unwrap().unwrap();
    let secret = *store.secret();
    drop(store);
    let env = Env::open(&settings.path.join("known"), Durability::Everything, Purpose::Write).unwrap();
    let mut done = 0;
    while done < host.triplets {
        let round = (done / 10).clamp(1, host.triplets - done);
        let mut records: Vec<(Key, u64, bool)> = (done..done + round)
            .flat_map(|number| {
                let keys = Mail::new(number, host.networks()).triplet().keys(&secret)[0];
                [(keys.known, number, true), (keys.identity, number, false)]
            })
            .collect();
        records.sort_unstable();
        records.dedup_by_key(|record| record.0);
        for some in records.chunks((done as usize / 1000).clamp(1, 1000)) {
            env.write(Patience::UpTo(Seconds(10)), |writer| {
                for (key, number, is_known) in some {
                    writer.put(&key.0, &record(host, *number, *is_known, now))?;
                }
                Ok(())
            })
            .unwrap();
        }
        done += round;
    }
    let mut known = 0;
    env.read(|snapshot| {
        snapshot.each(|_, value| {
            known += u64::from(value[1] == 2);
            true
        })
    })
    .unwrap();
    assert_eq!(known, host.triplets, "two triplets have one key");
    println!("{}", env.used_bytes());
}

fn record(host: &Host, number: u64, is_known: bool, now: Timestamp) -> Vec<u8> {
    let keep = if number.is_multiple_of(2) { SOON } else { Seconds::DAY.times(38) };
    let facts = if is_known {
        Facts::Known(Known { first_seen: now, passed: now, last_seen: now, counted: 1 })
    } else {
        // Too few to pass at once: what is measured is the known triplet.
        Facts::Identity(Earned {
            passes: 1,
            first_seen: now,
            counted: now,
            last_seen: now,
            ..Earned::default()
        })
    };
    let mut texts = Texts::default();
    if host.text {
        let mail = Mail::new(number, host.networks());
        texts.identity = mail.triplet().identities[0].to_string().into();
        (texts.sender, texts.recipient) = (mail.sender.into(), mail.recipient.into());
    }
    Record { by: By::Network, expires: now.plus(keep), facts, texts }.encode()
}
