//! What a store keeps of the addresses.

use super::{KNOWN, NEW, RETRIED};
use crate::common::Place;
use crate::common::driver::Built;

/// With `privacy = true` no address is in any file of the store, and mail is decided about as ever.
#[test]
fn with_privacy_no_address_is_on_the_disk() {
    let texts = [
        "private-alice",
        "sender-domain",
        "private-bob",
        "rcpt-domain",
        "203.0.113",
        "spf-domain",
        "dkim-domain",
        "host-domain",
        "fingerprint-text",
    ];
    for (privacy, expected) in [(true, 0), (false, 7)] {
        let place = Place::new(&format!("delay = \"0s\"\ntrust_known_domains = false\nprivacy = {privacy}"));
        let built = Built::new(&place);
        let mut driver = built.start();
        for (client, recipient) in [
            ("203.0.113.7", "private-bob@rcpt-domain.example"),
            ("203.0.113.17", "other@rcpt-domain.example"),
        ] {
            let arguments = [
                client,
                "private-alice@sender-domain.example",
                recipient,
                "spf=spf-domain.example",
                "host=mx.host-domain.example",
                "match=fingerprint-text",
            ];
            assert_eq!(driver.greylist(&place, &arguments), NEW);
            let passed = driver.greylist(&place, &arguments);
            assert_eq!(passed, RETRIED);
            assert_eq!(driver.greylist(&place, &arguments), KNOWN);
            let pending = arguments.map(|text| text.replace(client, "203.0.113.8"));
            driver.greylist(
                &place,
                &["203.0.113.9", &pending[1], "private-bob@rcpt-domain.example", "dkim=dkim-domain.example"],
            );
        }
        driver.end();
        let mut found: Vec<&str> = Vec::new();
        for line in place.tree() {
            let path = place.store().join(line.split(' ').next().unwrap());
            if path.is_file() {
                let bytes = std::fs::read(&path).unwrap();
                let holds = |text: &&&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
                found.extend(texts.iter().filter(holds));
            }
        }
        found.sort_unstable();
        found.dedup();
        if expected == 0 {
            assert_eq!(found, Vec::<&str>::new());
        } else {
            // So the search finds what is there.
            assert!(found.len() >= expected, "{found:?}");
        }
    }
}
