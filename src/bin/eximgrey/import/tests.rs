//! What each peer's lines say, and that no line is worse than one that is not understood.

use super::gather::{Gather, Gathered};
use super::peer::{Last, Mail, Peer, Said, around};
use super::{greylistd, milter_greylist, postgrey_db, spamd, sql, sqlgrey};
use eximgrey::settings::Settings;
use eximgrey::store::any::Any;
use eximgrey::store::record::{Facts, Record};
use eximgrey::time::{Seconds, Timestamp};
use eximgrey::triplet::Secret;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_718_900_000);

fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(postgrey_db::Postgrey::default()),
        Box::new(greylistd::Greylistd::default()),
        Box::new(sqlgrey::Sqlgrey),
        Box::new(milter_greylist::MilterGreylist),
        Box::new(spamd::Spamd),
        Box::new(sql::Fedora),
        Box::new(sql::Iredapd),
    ]
}

/// What the lines say, each as `passed CLIENT SENDER RECIPIENT FIRST LAST` or the like.
fn said(peer: &mut dyn Peer, text: &str) -> Vec<String> {
    let last = |last| match last {
        Last::Seen(last) => last.0.to_string(),
        Last::Until(until) => format!("until {}", until.0),
    };
    let mail = |Mail { client, sender, recipient, masked }: Mail| {
        let [from, to] = [sender, recipient].map(|text| text.escape_ascii().to_string());
        format!("{client} {from} {to}{}", if masked { " masked" } else { "" })
    };
    let lines = text.lines().filter_map(|line| match peer.line(line.as_bytes()) {
        Ok(None) => None,
        Ok(Some(Said::Passed { mail: m, first, last: l })) => {
            Some(format!("passed {} {} {}", mail(m), first.0, last(l)))
        }
        Ok(Some(Said::Waits { mail: m, first })) => Some(format!("waits {} {}", mail(m), first.0)),
        Ok(Some(Said::Client { client, passes, first, last: l })) => {
            Some(format!("client {client} {passes} {} {}", first.0, last(l)))
        }
        Err(expected) => Some(format!("expected {expected}")),
    });
    lines.collect()
}

#[test]
fn postgrey_says_who_has_passed() {
    let text = "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n \
                192.0.2.0/a/b@x.example/bob@y.example\n 1718000000,1718000300\n \
                192.0.2.0/24/n\\c3\\a9-#@x.example/bob@y.example\n 1718000000,1718090000,host\n \
                192.0.2.77//bob@y.example\n 1718000000,1718000299\n \
                2001:db8:0:1:0:0:0:0/a@x.example/bob@y.example\n 1718000000,1718000400\n \
                2001:DB8:0:0:0:0:0:1\n 7,1718000000\n 2001:DB8:0:0:0:0:0:1\n 0,1718000000\n \
                a94a8fe5ccb19ba61c4c0873d391e987982fbbd3\n 1718000000,1718000400\nnonsense\nDATA=END\n";
    assert_eq!(
        said(&mut postgrey_db::Postgrey::default(), text),
        [
            "passed 192.0.2.0/24 a/b@x.example bob@y.example 1718000000 1718000300",
            "passed 192.0.2.0/24 n\\xc3\\xa9-#@x.example bob@y.example masked 1718000000 1718090000",
            "waits 192.0.2.77/32  bob@y.example 1718000000",
            "passed 2001:db8:0:1::/64 a@x.example bob@y.example 1718000000 1718000400",
            "client 2001:db8::1/128 7 1718000000 1718000000",
            "expected a count",
            "expected a key with addresses (--privacy leaves hashes, which nobody can undo)",
            "expected a line of `db_dump -p`",
        ]
    );
    // Without -p.
    let text = "format=bytevalue\nHEADER=END\n 3139322e302e322e37\n 352c31373138303030303030\n";
    let client = ["client 192.0.2.7/32 5 1718000000 1718000000"];
    assert_eq!(said(&mut postgrey_db::Postgrey::default(), text), client);
}

#[test]
fn greylistd_joins_its_two_files() {
    let states = "[white]\n-5436475394867349201 = 1718000000 1717990000 7\n8 = 1718000000 1717990000 3\n\n[grey]\n\
                  9 = 1718000000 1717990000 1\n[black]\n11 = 1 1 1\n[statistics]\nwhite = 3\n";
    let mails = "-5436475394867349201 = 192.0.2.7 alice@x.example bob@y.example\n8 = 192.0.2.0/24\n\
                 9 = 192.0.2.7 bob@y.example\n10 = 192.0.2.7 bob@y.example\n";
    let expected = [
        "passed 192.0.2.7/32 alice@x.example bob@y.example 1717990000 1718000000",
        "client 192.0.2.0/24 3 1717990000 1718000000",
        "waits 192.0.2.7/32  bob@y.example 1717990000",
    ];
    for files in [[states, mails], [mails, states]] {
        let mut peer = greylistd::Greylistd::default();
        let found: Vec<_> = files
            .iter()
            .flat_map(|file| {
                peer.begin();
                said(&mut peer, file)
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(peer.end().map(|(many, _)| many), Some(1));
    }
}

#[test]
fn tables_and_dumps_are_read() {
    let sqlgrey = "from_awl\tbounce-#\tx.example\t192.0.2\t1718000000\t1718000400\n\
                   domain_awl\tx.example\t2001:0db8:0000:0001\t1718000000\t1718000400\n\
                   connect\talice\tx.example\t192.0.2.7\tbob@y.example\t1718000000\n\
                   connect\t-undef-\t-undef-\t192.0.2.7\tbob@y.example\t1718000000\n\
                   from_awl\ta\tx.example\t192.0.2.7\t2024-06-10 06:13:20\t1718000400\n";
    assert_eq!(
        said(&mut sqlgrey::Sqlgrey, sqlgrey),
        [
            "client 192.0.2.0/24 1 1718000000 1718000400",
            "client 2001:db8:0:1::/64 1 1718000000 1718000400",
            "waits 192.0.2.7/32 alice@x.example bob@y.example 1718000000",
            "waits 192.0.2.7/32  bob@y.example 1718000000",
            "expected a time in seconds since 1970",
        ]
    );
    let milter = "# greylist database\n192.0.2.1\t<a@x.example>\t<b@y.example>\t1718000000 # 2024-06-10 06:13:20\n\
                  192.0.2.1\t<>\t<b@y.example>\t1718000000 AUTO # 2024-06-10\n192.0.2.1\t<>\t<b@y.example>\t1718000000\t60 TARPIT\n";
    assert_eq!(
        said(&mut milter_greylist::MilterGreylist, milter),
        [
            "waits 192.0.2.1/32 a@x.example b@y.example 1718000000",
            "passed 192.0.2.1/32  b@y.example 1718000000 until 1718000000",
            "expected AUTO, or nothing, behind the time (tarpits are none of ours)",
        ]
    );
    let spamd = "WHITE|192.0.2.1|||1718000000|1718001000|1721000000|3|41\n\
                 GREY|192.0.2.1|mx.example|<a@x.example>|<b@y.example>|1718000000|1718001500|1718014400|1|0\n\
                 GREY|192.0.2.1|<a@x.example>|<b@y.example>|1718000000|1718001500|1718014400|1|0\nSPAMTRAP|t@y.example\n";
    let found = said(&mut spamd::Spamd, spamd);
    assert_eq!(found[0], "client 192.0.2.1/32 42 1718000000 until 1721000000");
    assert_eq!(found[1], "waits 192.0.2.1/32 a@x.example b@y.example 1718000000");
    assert_eq!(found[1], found[2]);
    assert!(found[3].starts_with("expected WHITE or GREY"), "{found:?}");
    let fedora = said(&mut sql::Fedora, "192.0.2.1\t1718000000\n");
    assert_eq!(fedora, ["client 192.0.2.1/32 1 1718000000 1718000000"]);
    let iredapd = "192.0.2.1\ta@x.example\tb@y.example\t1718000000\t1721000000\t1\n\
                   192.0.2.1\t\tb@y.example\t1718000000\t1721000000\t0\n";
    assert_eq!(
        said(&mut sql::Iredapd, iredapd),
        [
            "passed 192.0.2.1/32 a@x.example b@y.example 1718000000 until 1721000000",
            "waits 192.0.2.1/32  b@y.example 1718000000",
        ]
    );
}

fn mail(client: &str, sender: &str, masked: bool) -> Mail {
    let client = client.parse().unwrap();
    Mail { client, sender: sender.into(), masked, recipient: b"bob@y.example".to_vec() }
}

fn passed(mail: Mail, first: u32, last: Last) -> Said {
    Said::Passed { mail, first: Timestamp(first), last }
}

#[test]
fn a_pass_is_known_for_our_lifetime() {
    let settings = Settings::default();
    let keep = settings.rules.keep();
    let mut gather = Gather::new(&settings, Secret([7; 16]), NOW);
    let seen = |ago: u32| Last::Seen(Timestamp(NOW.0 - ago));
    let ok = gather.add(passed(mail("192.0.2.7/32", "a@x.example", false), NOW.0 - 90_000, seen(80_000)));
    let Ok(Gathered::Take(_, Any::Attempt(Record { facts: Facts::Known(known), expires, texts, .. }))) = ok
    else {
        panic!("{ok:?}");
    };
    assert_eq!((known.first_seen.0, known.last_seen.0), (NOW.0 - 90_000, NOW.0 - 80_000));
    assert_eq!((expires, texts.identity), (known.last_seen.plus(keep), b"192.0.2.0/24".to_vec()));

    let old = gather.add(passed(mail("192.0.2.7/32", "a@x.example", false), 1, seen(keep.0 + 1)));
    assert_eq!(old, Ok(Gathered::Expired));
    // What only says when it ends ends then.
    let until = Last::Until(NOW.plus(Seconds::DAY));
    let Ok(Gathered::Take(_, record)) =
        gather.add(passed(mail("192.0.2.7", "c@x.example", false), NOW.0, until))
    else {
        panic!("it counts for a day");
    };
    assert_eq!(record.expires(), NOW.plus(Seconds::DAY));
    // Where numbers are masked, our key must not depend on them.
    let masked = |sender| passed(mail("192.0.2.7", sender, true), NOW.0 - 9_000, seen(0));
    assert!(matches!(gather.add(masked("bounce-#-#@lists.example")), Ok(Gathered::Take(..))));
    assert_eq!(gather.add(masked("john#@x.example")), Ok(Gathered::Counted));
    let large = gather.add(passed(mail("192.0.0.0/16", "a@x.example", false), NOW.0, seen(0)));
    assert!(large.is_err_and(|expected| expected.contains("/24")));
}

/// One burst of mail is one proof, and a peer's own count is taken as it is.
#[test]
fn passes_are_counted_by_the_hour() {
    let settings = Settings::default();
    let mut gather = Gather::new(&settings, Secret([7; 16]), NOW);
    for n in 0..40 {
        let first = NOW.0 - 86_400 + 600 * (n % 12);
        let sender = format!("user{n}@x.example");
        let last = Last::Seen(Timestamp(NOW.0 - 9));
        gather.add(passed(mail("192.0.2.7", &sender, false), first, last)).unwrap();
    }
    let client = around([198, 51, 100, 7].into(), 32, 128);
    let first = Timestamp(NOW.0 - 500);
    gather.add(Said::Client { client, passes: 9, first, last: Last::Seen(NOW) }).unwrap();
    let mut passes: Vec<_> = gather
        .clients()
        .map(|(_, any)| match any {
            Any::Attempt(Record { facts: Facts::Identity(earned), .. }) => earned.passes,
            other => panic!("{other:?}"),
        })
        .collect();
    passes.sort_unstable();
    assert!(passes == [2, 9] || passes == [3, 9], "two hours, or parts of three: {passes:?}");
}

proptest! {
    /// Strangers write the addresses: any bytes, in the places of any field.
    #[test]
    fn no_line_is_a_panic(lines in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 0..9)) {
        let settings = Settings::default();
        for mut peer in all() {
            let mut gather = Gather::new(&settings, Secret([7; 16]), NOW);
            let said = lines.iter().filter_map(|line| peer.line(line).ok().flatten()).collect::<Vec<_>>();
            said.into_iter().for_each(|said| drop(gather.add(said)));
            peer.end();
        }
    }

    #[test]
    fn no_field_is_a_panic(
        words in proptest::collection::vec("(white|WHITE|GREY|connect|from_awl|HEADER=END| |[0-9]{1,12}|192.0.2.7|::1|<a@b.example>|.{0,9})", 0..12),
        sign in "[\t|= /,]",
    ) {
        let line = words.join(&sign);
        let settings = Settings::default();
        for mut peer in all() {
            let mut gather = Gather::new(&settings, Secret([7; 16]), NOW);
            for line in [&b"HEADER=END"[..], line.as_bytes(), line.as_bytes(), &b"[white]"[..], line.as_bytes()] {
                if let Ok(Some(said)) = peer.line(line) {
                    drop(gather.add(said));
                }
            }
        }
    }
}
