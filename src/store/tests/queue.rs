//! What is queued: while `known` cannot be written, after a carrier has died, and in its order.

use super::*;
use crate::memory::{Event, Finding, Memory};
use crate::store::entries::{Entry, Kind};
use crate::store::state::Turn;
use crate::store::update::{Subject, Update, What};
use crate::whitelist::ListKind;
use std::time::Duration;

impl World {
    /// Nobody can write to `known` while the result lives.
    fn stop_carrying(&self, work: impl FnOnce()) {
        let other = State::open(self.dir.path(), false).unwrap();
        let _held = other.take(Turn::Write(Table::Known), Duration::ZERO, self.dir.path()).unwrap();
        work();
    }

    /// Triplets that are known, without what is queued.
    fn written(&self) -> usize {
        let mut known = 0;
        let count = |_, record: Record| {
            known += usize::from(matches!(record.facts, Facts::Known(_)));
            true
        };
        self.store.scan(Table::Known, count).unwrap();
        known
    }
}

#[test]
fn who_passes_while_nobody_can_carry_is_known_all_the_same() {
    let world = world();
    let client = [network("192.0.2.1"), spf("x.example")];
    world.ask(&client, "a@x.example", 0);
    world.stop_carrying(|| {
        let retried = Verdict::Retried { waited: Seconds(300), by: By::Network };
        assert_eq!(world.ask(&client, "a@x.example", 300), retried);
        assert_eq!(world.ask(&client, "a@x.example", 301), Verdict::Known { by: By::Network });
        // By each of its identities, and longer than its window.
        let elsewhere = [network("198.51.100.1"), spf("x.example")];
        assert_eq!(world.ask(&elsewhere, "a@x.example", 200_000), Verdict::Known { by: By::Spf });
        assert_eq!(world.written(), 0);
    });
    // Any decision carries what has been queued for longer than a second.
    world.ask(&[network("203.0.113.1")], "other@z.example", 200_001);
    assert_eq!(world.written(), 2);
    assert_eq!((world.passes(By::Network), world.passes(By::Spf)), (Some(1), Some(1)));
    assert_eq!(world.pending().len(), 1, "only what waits");
    assert_eq!(world.ask(&client, "a@x.example", 200_002), Verdict::Known { by: By::Network });
}

/// Its carrier has died after the flush: nothing is counted twice.
#[test]
fn what_was_carried_is_not_carried_again() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.ask(&client, "a@x.example", 0);
    world.ask(&client, "b@x.example", 3_700);
    world.stop_carrying(|| {
        world.ask(&client, "a@x.example", 300);
        world.ask(&client, "b@x.example", 4_000);
    });
    let pending = world.env(Table::Pending);
    for _ in 0..2 {
        let known = world.env(Table::Known);
        let batch = known.write(Patience::None, |writer| world.store.write_queued(pending, writer)).unwrap();
        assert_eq!(batch.updates.len(), 2, "it has not left the queue");
    }
    assert_eq!(world.passes(By::Network), Some(2));
    // Spam takes back the one count, in its order: after what was queued before it.
    world.ask(&client, "c@x.example", 10_000);
    world.stop_carrying(|| {
        world.ask(&client, "c@x.example", 10_300);
        let triplet = Triplet::new(client.to_vec(), b"c@x.example", b"Bob@y.example", b"", Level::Full);
        let question = world.question(&triplet, 10_301);
        world.store.tell(&Event::Feedback(&question, Finding::Spam)).unwrap();
    });
    assert_eq!(world.passes(By::Network), Some(2));
    assert!(matches!(world.ask(&client, "c@x.example", 10_302), Verdict::New { .. }));
}

/// A queue begun anew, as after a repair of the first attempts, is not taken for the old one.
#[test]
fn another_queue_is_carried_from_its_beginning() {
    let world = world();
    let client = [network("192.0.2.1")];
    for sender in ["a@x.example", "b@x.example", "c@x.example"] {
        world.ask(&client, sender, 0);
        world.ask(&client, sender, 300);
    }
    assert_eq!(world.written(), 3);
    let World { dir, store, rules } = world;
    let pending = pending_dir(dir.path(), boot_id().unwrap());
    drop(store);
    fs::remove_dir_all(pending).unwrap();
    let store = Store::open(&settings(&dir), Access::Record, NOW).unwrap().unwrap();
    let world = World { dir, store, rules };
    world.ask(&client, "d@x.example", 400);
    world.ask(&client, "d@x.example", 700);
    assert_eq!(world.written(), 4);
}

/// More than one transaction takes: they are carried in rounds, and a full table pushes none of them out.
#[test]
fn a_long_queue_is_carried_whole() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { max_pending: 300, ..settings(&dir) };
    let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
    let world =
        World { dir, store, rules: Rules { auto_after: 0, trust_known_domains: false, ..Rules::default() } };
    let client = [network("192.0.2.1")];
    let sender = |n: u32| format!("person{n}x@x.example");
    for some in 0..5 {
        for n in some * 100..some * 100 + 100 {
            world.ask(&client, &sender(n), 0);
        }
        world.stop_carrying(|| {
            for n in some * 100..some * 100 + 100 {
                assert!(matches!(world.ask(&client, &sender(n), 300), Verdict::Retried { .. }), "{n}");
            }
        });
    }
    world.store.carry_all().unwrap();
    assert_eq!(world.written(), 500);
    assert_eq!(world.store.scan(Table::Pending, |_, _| true).unwrap(), Skipped::default());
}

#[test]
fn an_update_is_read_as_it_was_written() {
    let key = |n| Key([n; 16]);
    let keys = |n| IdentityKeys { identity: key(n), known: key(n + 1), pending: key(n + 2) };
    let texts = Texts { identity: vec![], sender: b"a@x".to_vec(), recipient: b"b@y".to_vec(), cut: true };
    let subject = |by, n| Subject { by, keys: keys(n), text: b"192.0.2.0/24".to_vec() };
    let admit = |counts| What::Admit {
        subjects: vec![subject(By::Network, 1), subject(By::Host, 4)],
        texts: texts.clone(),
        first_seen: Timestamp(7),
        counts,
        used: vec![key(8), key(9)],
    };
    let entry =
        Entry::new(Kind::Listed(ListKind::Host), NOW, NOW, [vec![b'x'; 255], vec![], vec![b'y'; 255]]);
    for what in [
        admit(true),
        admit(false),
        What::Renew(vec![key(1), key(2)]),
        What::Spam(vec![keys(1)]),
        What::Ham(vec![keys(1), keys(5)]),
        What::Enter(vec![(key(1), entry.clone()), (key(2), entry)]),
        What::Delete(vec![key(3)]),
    ] {
        let update = Update { now: NOW, keep: Seconds(99), what };
        let bytes = update.encode();
        assert_eq!(Update::decode(&bytes).as_ref(), Some(&update));
        assert_eq!(Update::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Update::decode(&[&[2], &bytes[1..]].concat()), None);
    }
}

/// The machine has crashed: the next boot begins without first attempts, and without what was queued there.
#[test]
fn a_crash_of_the_machine_costs_what_was_not_carried_and_no_more() {
    let world = world();
    let client = [network("192.0.2.1")];
    for sender in ["carried@x.example", "queued@x.example"] {
        world.ask(&client, sender, 0);
    }
    assert!(matches!(world.ask(&client, "carried@x.example", 300), Verdict::Retried { .. }));
    world.stop_carrying(|| {
        assert!(matches!(world.ask(&client, "queued@x.example", 300), Verdict::Retried { .. }));
    });
    let World { dir, store, rules } = world;
    drop(store);
    let boot = pending_dir(dir.path(), boot_id().unwrap());
    let earlier = pending_dir(dir.path(), Some("00000000-0000-0000-0000-000000000000"));
    fs::rename(boot, earlier).unwrap();
    let store = Store::open(&settings(&dir), Access::Record, NOW).unwrap().unwrap();
    let world = World { dir, store, rules };
    assert_eq!(world.ask(&client, "carried@x.example", 400), Verdict::Known { by: By::Network });
    assert!(matches!(world.ask(&client, "queued@x.example", 400), Verdict::New { .. }));
    assert!(matches!(world.ask(&client, "queued@x.example", 700), Verdict::Retried { .. }));
    assert_eq!(world.ask(&client, "queued@x.example", 701), Verdict::Known { by: By::Network });
}

/// Few of those who pass in one second wait for the disk; the others are carried by the next decision after it.
#[test]
fn few_carry_in_one_second() {
    let mut world = world();
    world.rules.auto_after = 0;
    let client = |n: u32| [network(&format!("10.0.{n}.1"))];
    for n in 0..40 {
        world.ask(&client(n), "a@x.example", 0);
    }
    let before = world.env(Table::Known).version();
    for n in 0..40 {
        world.ask(&client(n), "a@x.example", 300);
    }
    assert_eq!(world.env(Table::Known).version() - before, 8);
    assert_eq!(world.written(), 8);
    world.ask(&client(99), "b@x.example", 302);
    assert_eq!(world.written(), 40);
}

/// What `state` says of a queue that is gone, with its boot or with a process that died before it was there, is
/// believed once.
#[test]
fn a_queue_that_is_gone_is_looked_for_once() {
    let world = world();
    let state = State::open(world.dir.path(), false).unwrap();
    let since = || state.queue().unwrap()[0].load(std::sync::atomic::Ordering::Relaxed);
    for there in [false, true] {
        if there {
            world.ask(&[network("192.0.2.1")], "a@x.example", 0);
        }
        state.queue().unwrap()[0].store(7, std::sync::atomic::Ordering::Relaxed);
        let triplet =
            Triplet::new(vec![network("192.0.2.2")], b"b@x.example", b"b@y.example", b"", Level::Full);
        world.decide(&triplet, Access::Look, 100);
        assert_eq!(since(), 0, "{there}");
    }
}

/// A queue without its head, as damage may leave it, is not carried, and nobody looks for ever for what is in it.
#[test]
fn a_queue_without_its_head_is_left() {
    let world = world();
    let client = [network("192.0.2.1")];
    world.ask(&client, "a@x.example", 0);
    world.stop_carrying(|| {
        world.ask(&client, "a@x.example", 300);
    });
    let head = b"\0\0queue";
    world.env(Table::Pending).write(Patience::None, |writer| Ok(writer.delete(head)?)).unwrap();
    world.store.carry_all().unwrap();
    assert_eq!(world.written(), 0);
    assert_eq!(world.ask(&client, "a@x.example", 301), Verdict::Known { by: By::Network });
}
