//! What each stage of a decision costs: reading the arguments, identities, keys, the policy, the words of the reply, a read
//! and a write of the store. The sender key is in sender.rs, the whole in decision.rs.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, criterion_group, criterion_main};
use eximgrey::decision;
use eximgrey::evidence::{
    Earned, Evidence, Found, Known, KnownEvidence, KnownSide, Outcomes, Pending, PendingSide,
};
use eximgrey::identity::{ClientNetwork, Domain, Prefixes, registrable};
use eximgrey::memory::{Access, Question};
use eximgrey::policy::{Verdict, decide};
use eximgrey::reply::By;
use eximgrey::request::Request;
use eximgrey::rules::{Mode, Rules};
use eximgrey::sender::Level;
use eximgrey::settings::StoreSettings;
use eximgrey::store::lmdb::{Env, Patience};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::{Secret, Triplet};
use std::hint::black_box;

const ARGUMENTS: [&[u8]; 6] = [
    b"192.0.2.17",
    b"alice.jones@mail.sender.example",
    b"walter.white@uni.example.edu",
    b"spf=mail.sender.example",
    b"host=mx7.mail.sender.example",
    b"delay=5m",
];

const NOW: Timestamp = Timestamp(1_000_000_000);

fn triplet<'a>(arguments: &[&'a [u8]]) -> Triplet<'a> {
    Request::parse(arguments).unwrap().triplet(Prefixes::default(), Level::Full).unwrap()
}

fn request(c: &mut Criterion) {
    c.bench_function("request", |b| b.iter(|| Request::parse(black_box(&ARGUMENTS))));
}

fn identity(c: &mut Criterion) {
    for (name, address) in [("IPv4", "192.0.2.17"), ("IPv6", "2001:db8::25:1")] {
        let address = address.parse().unwrap();
        c.bench_function(&format!("identity/network, {name}"), |b| {
            b.iter(|| ClientNetwork::of(black_box(address), Prefixes::default()))
        });
    }
    let client = "192.0.2.17".parse().unwrap();
    for (name, host) in
        [("host", "mx7.mail.sender.co.uk"), ("generated host", "host-192-0-2-17.dsl.sender.co.uk")]
    {
        let host = Domain::parse(host.as_bytes()).unwrap();
        c.bench_function(&format!("identity/{name}"), |b| b.iter(|| registrable(black_box(&host), client)));
    }
}

fn keys(c: &mut Criterion) {
    let secret = Secret([7; 16]);
    for (name, arguments) in [("one identity", &ARGUMENTS[..3]), ("three identities", &ARGUMENTS)] {
        let triplet = triplet(arguments);
        c.bench_function(&format!("keys/{name}"), |b| b.iter(|| black_box(&triplet).keys(&secret)));
    }
}

fn policy(c: &mut Criterion) {
    let rules = Rules { trust_known_domains: false, ..Rules::default() };
    let (outcomes, blamed) = (Outcomes::passes(2), Timestamp(0));
    let earned = Earned { passes: 2, first_seen: NOW, counted: NOW, last_seen: NOW, outcomes, blamed };
    let known = Known { first_seen: NOW, passed: NOW, last_seen: NOW, counted: 1 };
    let side = |known| {
        let identity = |by| KnownEvidence { by, earned: Found::Here(earned), known };
        let identities = [By::Network, By::Spf, By::Host].map(identity).into();
        Some(KnownSide { identities, ..KnownSide::default() })
    };
    let first = Found::Here(Pending { first_seen: NOW, passed: None });
    let identities = vec![first, Found::Absent, Found::Absent];
    let pending = Some(PendingSide { identities, ..PendingSide::default() });
    let evidence = [
        ("known", Evidence { known: side(Found::Here(known)), ..Evidence::default() }),
        ("retried", Evidence { known: side(Found::Absent), pending, ..Evidence::default() }),
    ];
    for (name, evidence) in evidence {
        let now = NOW.plus(Seconds::HOUR);
        c.bench_function(&format!("decide/{name}"), |b| b.iter(|| decide(&rules, black_box(&evidence), now)));
    }
}

fn reply(c: &mut Criterion) {
    let verdict = Verdict::Retried { waited: Seconds(400), by: By::Network };
    c.bench_function("reply", |b| b.iter(|| black_box(verdict).reply(Mode::Enforce).to_string()));
}

/// A store with 1,000 known triplets and 9,000 first attempts. Each read and write is a transaction of its own; a write puts what
/// is there already, in `known` with the flush that makes it last.
fn store(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings { path: dir.path().into(), ..StoreSettings::default() };
    let store = Store::open(&settings, Access::Record, NOW).unwrap().unwrap();
    let rules = Rules { auto_after: 0, ..Rules::default() };
    let later = NOW.plus(Seconds::HOUR);
    let senders: Vec<String> = (0..10_000).map(|n| format!("person{n}x@sender.example")).collect();
    let [client, _, recipient, ..] = ARGUMENTS;
    for (n, sender) in senders.iter().enumerate() {
        let triplet = triplet(&[client, sender.as_bytes(), recipient]);
        let ask = |now| {
            let question = Question { triplet: &triplet, rules: &rules, now };
            decision::decide(&store, &question, Access::Record).unwrap();
        };
        ask(NOW);
        if n % 10 == 5 {
            ask(later);
        }
    }
    let triplet = |n: usize| triplet(&[client, senders.get(n).unwrap().as_bytes(), recipient]);
    let one = triplet(5_005);
    let question = Question { triplet: &one, rules: &rules, now: later };
    c.bench_function("store/evidence", |b| {
        b.iter(|| decision::evidence(&store, black_box(&question)).unwrap())
    });
    let keys = |n| triplet(n).keys(store.secret()).first().copied().unwrap();
    let pending = store.environment(Table::Pending).unwrap();
    for (name, env, key) in [
        ("known", store.environment(Table::Known).unwrap(), keys(5_005).known),
        ("pending", pending, keys(77).pending),
    ] {
        let read = |env: &Env| env.read(|snapshot| Ok(snapshot.get(&key.0)?.map(<[u8]>::to_vec))).unwrap();
        c.bench_function(&format!("store/read {name}"), |b| b.iter(|| read(black_box(env))));
        let record = read(env).unwrap();
        c.bench_function(&format!("store/write {name}"), |b| {
            b.iter(|| env.write(Patience::None, |writer| Ok(writer.put(&key.0, &record)?)).unwrap())
        });
    }
}

criterion_group!(benches, request, identity, keys, policy, reply, store);
criterion_main!(benches);
