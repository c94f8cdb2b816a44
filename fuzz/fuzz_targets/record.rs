//! Any bytes as a record of the store: no panic; what is read can be written and read again, and each reader sees the same in
//! it.
#![no_main]

use eximgrey::store::record::{Facts, Meta, Record, counted, earned, ended, known, neighbour, pending, trial};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let read = [
        pending(Some(input)).here().is_some(),
        known(Some(input)).here().is_some(),
        earned(Some(input)).here().is_some(),
    ];
    let neighbour = neighbour(input);
    if let Some(record) = Record::decode(input) {
        let is = [
            matches!(record.facts, Facts::Pending { .. }),
            matches!(record.facts, Facts::Known(_)),
            matches!(record.facts, Facts::Identity(_)),
        ];
        assert_eq!(read, is);
        assert_eq!(neighbour.map(|neighbour| neighbour.expires), Some(record.expires));
        // Others may write what we leave out: what we have written stays as it is.
        let again = record.encode();
        assert_eq!(Record::decode(&again).map(|record| record.encode()), Some(again));
    }
    // What has been counted counts no more, and nothing else changes.
    if let Some((since, of)) = trial(input) {
        assert!(ended(input, true).is_none_or(|ended| ended.trial == of && ended.first_seen == since));
        assert_eq!((trial(&counted(input)), pending(Some(&counted(input)))), (None, pending(Some(input))));
    }
    if let Some(meta) = Meta::decode(input) {
        assert!(Meta::decode(&meta.encode()).is_some_and(|again| again == meta));
    }
});
