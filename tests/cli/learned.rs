//! What became of first attempts: `list learned`, `explain`, `report` and `forget learned` say the same.

use super::common::{Place, as_store_user};
use super::{HOUR, eximgrey};
use eximgrey::learned::{Pattern, Tried};
use eximgrey::memory::Access;
use eximgrey::reply::Reply;
use eximgrey::request::Request;
use eximgrey::session::Session;
use eximgrey::time::Timestamp;

const SETTINGS: &str = "learn = \"on\"\nsigns = [\"dnsbl\", \"helo\"]\n";
const OWN: [&str; 4] = ["192.0.2.7", "alice@sender.example", "bob@rcpt.example", "host=mx.sender.example"];
const LISTED: [&str; 4] = ["198.51.100.7", "a@x.example", "bob@rcpt.example", "sign=dnsbl"];

/// Makes the store think that so many of attempts like these came back, and so many did not.
fn teach(place: &Place, all: &[([&str; 4], u16, u16)]) {
    place.decide(&[(
        Timestamp::now().0,
        &[b"203.0.113.1", b"first@x.example", b"bob@rcpt.example", b"learn=off"],
    )]);
    let settings = place.settings();
    as_store_user(|| {
        let store = place.open();
        for (mail, came_back, stayed_away) in all {
            let words = mail.map(str::as_bytes);
            let triplet =
                settings.triplet(&Request::parse(&words).unwrap(), &settings.rules).unwrap().unwrap();
            let tried = Tried { came_back: *came_back, stayed_away: *stayed_away, ..Tried::default() };
            store.learned().unwrap().set(Pattern::of(&triplet), tried, Timestamp::now());
        }
    });
}

fn answer(place: &Place, mail: &[&str]) -> Reply {
    let option = place.config_option();
    let words: Vec<_> = mail.iter().copied().chain([option.as_str()]).map(str::as_bytes).collect();
    as_store_user(|| Session::new().answer(&words, Access::Look, Timestamp::now()).unwrap())
}

#[test]
fn what_was_learned_is_listed_explained_and_forgotten() {
    let place = Place::new(SETTINGS);
    let none = eximgrey(&place, &["list", "learned"]);
    assert_eq!((none.code, none.out.as_str()), (Some(1), ""));
    teach(&place, &[(LISTED, 0, 900), (OWN, 803, 9)]);
    let list = eximgrey(&place, &["list", "learned"]);
    let expected = [
        " 98.9% 803 9 0 0 usual spf=none host=named sender=own",
        "  0.0% 0 900 0 0 slow  spf=none host=none sender=other sign=dnsbl",
    ];
    assert_eq!(list.lines(), expected);
    let json = eximgrey(&place, &["list", "learned", "--json"]).json();
    assert_eq!((&json[1]["lane"], &json[1]["stayed_away"]), (&"slow".into(), &900.into()));
    assert_eq!(eximgrey(&place, &["list", "learned", "client=192.0.2.7"]).code, Some(2));

    teach(&place, &[(OWN, 1_000, 3)]);
    // One in twenty has to come back all the same.
    let senders = (0..100).map(|n| format!("alice{n}x@sender.example"));
    let likely = senders.filter(|sender| {
        answer(&place, &[OWN[0], sender, OWN[2], OWN[3]]).to_string() == "action=pass reason=likely"
    });
    let likely: Vec<_> = likely.collect();
    assert!((80..100).contains(&likely.len()), "{likely:?}");
    let explained = |options: &[&str]| {
        let words = [&["explain", OWN[0], &likely[0], OWN[2], OWN[3]], options].concat();
        let told = eximgrey(&place, &words);
        assert_eq!(told.code, Some(0), "{}", told.err);
        told.out
    };
    let of = "of 1003 first attempts like this one, 1000 came back";
    for (options, lines) in [
        (
            &[][..],
            [format!("learned     {of} (spf=none host=named sender=own)\n"), format!("because     {of}\n")],
        ),
        (
            &["learn=watch"],
            [
                "reason=new wait=300 would=pass\n".into(),
                format!("with learn = \"on\" it would pass at once: {of}\n"),
            ],
        ),
        (&["learn=off"], ["reason=new wait=300\n".into(), "within the window of 2d\n".into()]),
    ] {
        let told = explained(options);
        assert!(lines.iter().all(|line| told.contains(line)), "{options:?}: {told}");
    }
    assert_eq!(answer(&place, &LISTED).to_string(), "action=defer reason=new wait=1200");

    let report = eximgrey(&place, &["report"]);
    assert!(report.out.contains("Who comes back, best and worst"), "{}", report.out);
    assert!(
        report.out.contains("    0.0 % of     900  slow  spf=none host=none sender=other sign=dnsbl\n"),
        "{}",
        report.out
    );

    let forgotten = eximgrey(&place, &["forget", "learned"]);
    assert_eq!((forgotten.code, forgotten.out.as_str()), (Some(0), "forgotten: what was learned\n"));
    assert_eq!(answer(&place, &LISTED).to_string(), "action=defer reason=new wait=300");
    assert_eq!(eximgrey(&place, &["forget", "learned"]).code, Some(1));
    assert_eq!(eximgrey(&place, &["list", "learned"]).code, Some(1));
}

/// Of a site that watches, the report says what would have passed.
#[test]
fn what_would_have_passed_is_counted() {
    let place = Place::new("");
    teach(&place, &[([OWN[0], OWN[1], OWN[2], ""], 1_000, 0)]);
    let now = Timestamp::now().0 - HOUR / 60;
    let senders: Vec<_> = (0..100).map(|n| format!("alice{n}x@sender.example")).collect();
    let mails: Vec<_> = senders.iter().map(|sender| [OWN[0], sender, OWN[2]].map(str::as_bytes)).collect();
    let calls: Vec<_> = mails.iter().map(|mail| (now, &mail[..])).collect();
    let would = place.decide(&calls).iter().filter(|reply| reply.ends_with("wait=300 would=pass")).count();
    // Those that wait do not come back, and so it ends.
    assert!((5..100).contains(&would), "{would}");
    let report = eximgrey(&place, &["report", "--json"]).json();
    assert_eq!(report[0]["decisions"]["would_pass"], would);
    assert_eq!(
        (&report[0]["decisions"]["would_defer"], &report[0]["decisions"]["first_attempts"]),
        (&0.into(), &101.into())
    );
    let metrics = eximgrey(&place, &["metrics"]).out;
    assert!(metrics.contains(&format!("\neximgrey_would_pass_total {would}\n")), "{metrics}");
}

#[test]
fn a_sign_that_is_no_word_of_the_configuration_is_refused() {
    let place = Place::new(SETTINGS);
    let explain = |sign| eximgrey(&place, &["explain", OWN[0], OWN[1], OWN[2], sign]);
    assert_eq!(explain("sign=helo,dnsbl").code, Some(0));
    let refused = explain("sign=tls");
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.contains("sign=tls: expected up to 4 of the configuration's signs: dnsbl, helo"),
        "{}",
        refused.err
    );
    place.configure("signs = [\"dnsbl\", \"two words\"]");
    let checked = eximgrey(&place, &["check-config"]);
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    let expected = "signs: expected at most 7 different words of a-z, 0-9 and -, each of at most 16";
    assert!([checked.out, checked.err].concat().contains(expected));
}
