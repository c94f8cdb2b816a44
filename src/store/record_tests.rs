//! The bytes of records, and what is made of them.

use super::*;

fn texts() -> Texts {
    let text = |t: &str| t.as_bytes().to_vec();
    Texts { identity: text("192.0.2.0/24"), sender: text("a@x"), recipient: text("b@y"), cut: false }
}

fn earned_once(passes: u32) -> Earned {
    let [first_seen, counted, last_seen] = [1, 2, 3].map(Timestamp);
    let outcomes = Outcomes::passes(passes);
    Earned { first_seen, counted, last_seen, passes, outcomes, blamed: Timestamp(0) }
}

fn samples() -> [Record; 3] {
    let t = Timestamp;
    let record = |facts, texts| Record { by: By::Spf, expires: t(0x0403_0201), facts, texts };
    [
        record(
            Facts::Pending {
                record: Pending { first_seen: t(1), passed: None },
                ripe: t(2),
                network: 0xdead_beef,
            },
            texts(),
        ),
        record(Facts::Known(Known { first_seen: t(1), passed: t(2), last_seen: t(3), counted: 1 }), texts()),
        record(
            Facts::Identity(earned_once(4)),
            Texts { identity: b"x.example".to_vec(), ..Texts::default() },
        ),
    ]
}

/// A store written today must be read by every later version: these bytes never change.
#[test]
fn the_bytes_are_those_of_the_table() {
    let expected: [&[u8]; 3] = [
        b"\x01\x01\x01\x00\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\xef\xbe\xad\xde\x0c192.0.2.0/24\x03a@x\x03b@y",
        b"\x01\x02\x01\x04\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\x03\0\0\0\x0c192.0.2.0/24\x03a@x\x03b@y",
        b"\x01\x03\x01\x00\x01\0\0\0\x01\x02\x03\x04\x02\0\0\0\x03\0\0\0\x04\0\0\0\x09x.example",
    ];
    for (record, expected) in samples().iter().zip(expected) {
        assert_eq!(record.encode(), expected);
        assert_eq!(Record::decode(expected).as_ref(), Some(record));
    }
    let meta = Meta { secret: Secret([7; 16]), made: Timestamp(0x0403_0201) };
    assert_eq!(meta.encode(), [&[1, 0][..], &[7; 16], &[1, 2, 3, 4]].concat());
    assert!(Meta::decode(&meta.encode()) == Some(meta));
}

/// Spam is written behind all that earlier versions read, also where the store keeps no texts.
#[test]
fn what_became_of_an_identitys_mail_stands_behind_its_text() {
    let outcomes = Outcomes::passes(4).and(true);
    let earned = Earned { outcomes, blamed: Timestamp(9), ..earned_once(4) };
    let [_, _, identity] = samples();
    for texts in [identity.texts, Texts::default()] {
        let before = Record { texts, facts: Facts::Identity(earned_once(4)), ..identity };
        let record = Record { facts: Facts::Identity(earned), ..before.clone() };
        let mut expected = before.encode();
        expected.extend(if expected.len() == 24 { &b"\0"[..] } else { b"" });
        expected.extend(b"\x01\0\0\x05\x09\0\0\0");
        assert_eq!(record.encode(), expected);
        assert_eq!(Record::decode(&expected), Some(record));
    }
}

#[test]
fn a_triplet_knows_how_often_its_identity_was_counted_for_it() {
    let [_, known, _] = samples();
    let Facts::Known(facts) = known.facts else { panic!() };
    for (counted, flags) in [(0, 0), (1, 4), (2, 0x0c), (32, 0xfc), (200, 0xfc)] {
        let record = Record { facts: Facts::Known(Known { counted, ..facts }), ..known.clone() };
        let bytes = record.encode();
        assert_eq!(bytes[3], flags);
        let read = Known { counted: counted.min(32), ..facts };
        assert_eq!(super::known(Some(&bytes)), Found::Here(read));
    }
}

#[test]
fn the_short_readers_see_what_the_long_one_sees() {
    let [a, b, c] = samples().map(|r| r.encode());
    assert_eq!(pending(Some(&a)), Found::Here(Pending { first_seen: Timestamp(1), passed: None }));
    let t = Timestamp;
    assert_eq!(
        known(Some(&b)),
        Found::Here(Known { first_seen: t(1), passed: t(2), last_seen: t(3), counted: 1 })
    );
    let expected = earned_once(4);
    assert_eq!(earned(Some(&c)), Found::Here(expected));
    assert_eq!(pending(Some(&b)), Found::Unreadable);
    assert_eq!(pending(None), Found::Absent);
    let stakes = [&a, &b, &c].map(|bytes| neighbour(bytes).unwrap());
    assert!(stakes.iter().all(|neighbour| neighbour.expires == t(0x0403_0201)));
    let waits = Stake::Waits { network: 0xdead_beef, first_seen: t(1), ripe: t(2), counts_elsewhere: true };
    assert_eq!(stakes.map(|neighbour| neighbour.stake), [waits, Stake::Known(t(3)), Stake::Known(t(3))]);
}

/// What has let one mail pass is still a first attempt, and lets no other mail pass.
#[test]
fn a_first_attempt_is_used_up_once() {
    let [first, known, _] = samples().map(|record| record.encode());
    let other = Elsewhere { network: 0xdead_beef, first_seen: Timestamp(1) };
    assert_eq!(elsewhere(&first), Some(other));
    let used = used_up(&first).unwrap();
    assert_eq!((elsewhere(&used), used_up(&used)), (None, None));
    assert_eq!(pending(Some(&used)), pending(Some(&first)));
    assert_eq!(Record::decode(&used), Record::decode(&first));
    let counts = |bytes: &[u8]| match neighbour(bytes).unwrap().stake {
        Stake::Waits { counts_elsewhere, .. } => counts_elsewhere,
        other => panic!("{other:?}"),
    };
    assert_eq!([counts(&first), counts(&used)], [true, false]);
    let mut record = samples()[0].clone();
    if let Facts::Pending { record, .. } = &mut record.facts {
        record.passed = Some(Timestamp(2));
    }
    assert_eq!([elsewhere(&record.encode()), elsewhere(&known)], [None, None]);
}

#[test]
fn privacy_leaves_the_texts_out() {
    for record in samples() {
        let record = Record { texts: Texts::default(), ..record };
        assert!(record.encode().len() <= 24);
        assert_eq!(Record::decode(&record.encode()), Some(record));
    }
}

#[test]
fn unknown_versions_kinds_and_torn_records_are_not_read() {
    for record in samples() {
        let good = record.encode();
        for (place, value) in [(0, 2), (1, 9), (2, 4)] {
            let mut bytes = good.clone();
            bytes[place] = value;
            assert_eq!(Record::decode(&bytes), None);
        }
        let fixed = if matches!(record.facts, Facts::Identity(_)) { 24 } else { 20 };
        for end in (0..good.len()).filter(|&end| end != fixed) {
            assert_eq!(Record::decode(&good[..end]), None, "{end}");
        }
    }
    let mut bytes = samples()[0].encode();
    bytes[0] = 2;
    assert_eq!(pending(Some(&bytes)), Found::Unreadable);
    assert_eq!(neighbour(&bytes), None);
    assert!(Meta::decode(&[2; 22]).is_none());
}

#[test]
fn a_long_text_is_cut() {
    let [mut record, ..] = samples();
    record.texts.sender = vec![b'x'; 300];
    let read = Record::decode(&record.encode()).unwrap();
    assert_eq!(read.texts.sender.len(), 255);
    assert!(read.texts.cut);
    assert_eq!(read.texts.recipient, b"b@y");
}
