//! This memory against the store.

use super::*;
use eximgrey::decision::decide;
use eximgrey::memory::Access;
use eximgrey::rules::Rules;
use eximgrey::settings::Settings;
use eximgrey::store::Store;

const NOW: Timestamp = Timestamp(1_000_000_000);

/// The same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

fn store(settings: &StoreSettings) -> Store {
    Store::open(settings, Access::Record, NOW).unwrap().unwrap()
}

/// All that is known: keys with what stands there.
fn known(store: &Store) -> BTreeMap<Key, Record> {
    store.carry_all().unwrap();
    let mut known = BTreeMap::new();
    let mut seen = |key, record: Record| {
        known.insert(key, record);
        true
    };
    store.scan(Table::Known, &mut seen).unwrap();
    known
}

/// Mail of few senders from a few networks and pools: each attempt is answered as the store answers it, and
/// what is known in the end is what the store knows.
#[test]
fn it_answers_and_knows_what_the_store_does() {
    let mut verdicts = BTreeMap::new();
    for seed in 1..=4 {
        let dir = tempfile::tempdir().unwrap();
        let settings = StoreSettings { path: dir.path().into(), ..StoreSettings::default() };
        let store = store(&settings);
        let memory = Recollection::new(*store.secret(), settings, true);
        let mut numbers = Numbers(seed);
        let mut now = NOW;
        let rules = Rules { auto_after: 3, ..Rules::DEFAULT };
        for _ in 0..700 {
            let step = [1, 60, 400, 3_000, 50_000][numbers.below(5) as usize];
            now = now.plus(Seconds(1 + numbers.below(step) as u32));
            let client = format!("192.0.{}.{}", numbers.below(7), numbers.below(3));
            let (from, to) = (numbers.below(3), numbers.below(3));
            let (sender, recipient) = (format!("a{from}@x{from}.test"), format!("b{to}@y.test"));
            let spf = (numbers.below(4) == 0).then(|| format!("x{from}.test"));
            let host = (numbers.below(3) == 0).then(|| format!("mx.pool{}.test", numbers.below(2)));
            let request = eximgrey::request::Request {
                client: Some(client.parse().unwrap()),
                sender: sender.as_bytes(),
                recipient: recipient.as_bytes(),
                spf: spf.and_then(|spf| eximgrey::identity::Domain::parse(spf.as_bytes())),
                host: host.and_then(|host| eximgrey::identity::Domain::parse(host.as_bytes())),
                ..Default::default()
            };
            let triplet = request.triplet(Settings::default().prefixes, rules.sender_key).unwrap();
            let question = Question { triplet: &triplet, rules: &rules, now };
            let expected = decide(&store, &question, Access::Record).unwrap();
            let verdict = decide(&memory, &question, Access::Record).unwrap();
            assert_eq!(verdict, expected, "seed {seed}, {client} {sender} {recipient} at {now}");
            let name = format!("{verdict:?}").split(' ').next().map(str::to_owned).unwrap();
            *verdicts.entry(name).or_insert(0) += 1;
        }
        let mine: BTreeMap<_, _> = memory.known(now).into_iter().collect();
        let theirs: BTreeMap<_, _> = known(&store).into_iter().filter(|(_, r)| r.expires >= now).collect();
        assert_eq!(mine.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "seed {seed}");
        for (key, theirs) in theirs {
            assert_eq!(mine[&key], Any::Attempt(theirs), "seed {seed}");
        }
    }
    for name in ["New", "Early", "Retried", "SenderCameBack", "Known", "Auto"] {
        assert!(verdicts.contains_key(name), "no {name} in {verdicts:?}");
    }
}

/// What has run out makes room, and is counted where it never came back; where there is no room, mail passes.
#[test]
fn its_size_has_a_bound() {
    let most = 2 * FEW as u64;
    let settings = StoreSettings { max_pending: most, ..StoreSettings::default() };
    let memory = Recollection::new(Secret([7; 16]), settings, false);
    let rules = Rules::DEFAULT;
    let ask = |n: u32, now| {
        let sender = format!("a{n}@x.test");
        let request = eximgrey::request::Request {
            client: Some("192.0.2.1".parse().unwrap()),
            sender: sender.as_bytes(),
            recipient: b"b@y.test",
            ..Default::default()
        };
        let triplet = request.triplet(Settings::default().prefixes, eximgrey::sender::Level::Exact).unwrap();
        let question = Question { triplet: &triplet, rules: &rules, now };
        let verdict = decide(&memory, &question, Access::Record);
        if verdict.is_ok() {
            memory.refused(
                &question,
                Who { network: "192.0.2.0/24".into(), sender: sender.clone().into_bytes() },
            );
        }
        verdict
    };
    let passed = (0..3 * FEW as u32).filter(|n| ask(*n, NOW).is_err()).count();
    assert_eq!((memory.tables.borrow().pending.len(), passed), (2 * FEW, FEW));
    let later = NOW.plus(rules.window).plus(Seconds(1));
    assert!(matches!(ask(u32::MAX, later), Ok(Verdict::New { .. })));
    let (lost, may_come_back) = memory.lost(later);
    assert_eq!((lost.many, may_come_back), ((3 * FEW - passed) as u64, 1));
    assert_eq!(lost.networks.first(1), [(&b"192.0.2.0/24"[..], lost.many)]);
    assert_eq!(lost.sender_domains.first(1), [(&b"x.test"[..], lost.many)]);
}
