//! The map grows by itself, and what one process grew the others pick up.

use crate::common::{Place, as_store_user};
use crate::role::{Role, key};
use eximgrey::store::Table;
use eximgrey::time::Timestamp;

/// The map of a new environment (`FIRST_MAP` in `src/store/lmdb.rs`).
const FIRST_MAP: u64 = 1 << 20;

/// Records that are filled in at a time.
const COUNT: u64 = 100;

fn numbers(answer: &str) -> (u64, u64) {
    let (used, map) = answer.split_once(' ').unwrap();
    (used.parse().unwrap(), map.parse().unwrap())
}

/// A store that outgrows its map goes on: two processes fill it in turn and each meets what the other grew; sessions that
/// have it open decide on, and nothing is lost.
#[test]
fn a_store_grows_while_others_use_it() {
    let place = Place::new("delay = \"0s\"\nprivacy = false");
    let mut sessions = [Role::start(&place, "session"), Role::start(&place, "session")];
    let mut fillers = [Role::start(&place, "session"), Role::start(&place, "session")];
    let now = Timestamp::now().0;
    let new = "action=defer reason=new wait=0";
    let triplet = |n: usize| [format!("10.1.{n}.1"), "a@sender.example".into(), format!("{n}@rcpt.example")];
    let ask = |session: &mut Role, time: u32, n: usize| {
        let triplet = triplet(n);
        session.decide(time, &[&triplet[0], &triplet[1], &triplet[2]])
    };
    // All have it open at its first size.
    assert_eq!(ask(&mut sessions[0], now, 0), new);
    assert_eq!(ask(&mut sessions[1], now, 1), new);

    // In turn, past the first map: by the turn, one meets the full map and the other one that was resized.
    let (mut turns, mut used, mut maps) = (0_u64, 0, [0, 0]);
    while used < FIRST_MAP + FIRST_MAP / 8 {
        let turn = turns as usize % 2;
        (used, maps[turn]) = numbers(&fillers[turn].ask(&format!("fill pending {turns} {COUNT}")));
        turns += 1;
        assert!(turns < 200, "{used} bytes used");
    }
    assert!(maps.iter().all(|&map| map == 2 * FIRST_MAP), "{maps:?}");

    // One session meets the new size when it reads, the other when it writes.
    let retried = "action=pass reason=retried delay=60 by=network";
    assert_eq!(ask(&mut sessions[0], now + 60, 1), retried);
    assert_eq!(ask(&mut sessions[1], now, 2), new);
    assert_eq!(ask(&mut sessions[0], now + 60, 2), retried);
    assert_eq!(ask(&mut sessions[1], now + 60, 0), retried);

    for filler in &mut fillers {
        assert_eq!(filler.ask("close"), "closed");
    }
    let lost = as_store_user(|| {
        let store = place.open();
        let pending = store.environment(Table::Pending).unwrap();
        let lost = pending.read(|snapshot| {
            let mut lost = 0;
            for (seed, number) in (0..turns).flat_map(|seed| (0..COUNT).map(move |n| (seed, n))) {
                lost += u64::from(snapshot.get(&key(seed, number))?.is_none());
            }
            Ok(lost)
        });
        lost.unwrap()
    });
    assert_eq!(lost, 0, "of {} records", turns * COUNT);
}

/// A decision that meets the full map itself is recorded like any other.
#[test]
fn a_decision_that_fills_the_map_is_recorded() {
    let place = Place::new("delay = \"0s\"\nprivacy = false");
    let mut filler = Role::start(&place, "session");
    let (mut turns, mut used, mut map) = (0_u64, 0, 0);
    // To a few pages from the end.
    while used + (24 << 12) < FIRST_MAP {
        (used, map) = numbers(&filler.ask(&format!("fill pending {turns} 20")));
        turns += 1;
    }
    assert_eq!(map, FIRST_MAP, "{used} used");
    let mut sessions = [Role::start(&place, "session"), Role::start(&place, "session")];
    let now = Timestamp::now().0;
    let long = "x".repeat(240);
    // In turn, first all and then all again: between them the map has grown.
    for (later, reply) in
        [(0, "action=defer reason=new wait=0"), (1, "action=pass reason=retried delay=1 by=network")]
    {
        for n in 0..400 {
            let sender = format!("{long}@sender.example");
            let recipient = format!("{n}{long}@rcpt.example");
            let client = format!("10.{}.{}.1", n / 200, n % 200);
            let session = &mut sessions[(n + later) % 2];
            assert_eq!(session.decide(now + later as u32, &[&client, &sender, &recipient]), reply, "{n}");
        }
        let (used, map) = numbers(&filler.ask(&format!("fill pending {turns} 1")));
        assert!(map > FIRST_MAP, "the map did not grow: {used} used");
    }
}

/// A session that only reads what is known maps no more than there is, and finds it when there is more.
#[test]
fn a_session_that_only_reads_meets_what_others_wrote() {
    let place = Place::new("delay = \"0s\"");
    let [mut writer, mut reader, mut filler] = [(); 3].map(|()| Role::start(&place, "session"));
    let now = Timestamp::now().0;
    let triplet = ["192.0.2.1", "a@sender.example", "b@rcpt.example"];
    assert_eq!(writer.decide(now, &triplet), "action=defer reason=new wait=0");
    assert_eq!(writer.decide(now + 60, &triplet), "action=pass reason=retried delay=60 by=network");
    let known = "action=pass reason=known by=network";
    assert_eq!(reader.decide(now + 61, &triplet), known);
    for seed in 0..4 {
        let (used, _) = numbers(&filler.ask(&format!("fill known {seed} 1500")));
        assert!(used > (seed + 1) << 19, "{used} bytes used");
        assert_eq!(reader.decide(now + 62, &triplet), known, "{used} bytes used");
    }
}
