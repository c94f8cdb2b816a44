//! Any bytes as the arguments of a call, one a line: no panic; what is refused is told in a line of text, and what is
//! taken has keys that its identities and texts decide alone.
#![no_main]

use eximgrey::request::Request;
use eximgrey::settings::Settings;
use eximgrey::triplet::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let arguments: Vec<&[u8]> = input.split(|&byte| byte == b'\n').take(20).collect();
    let settings = Settings::default();
    match Request::parse(&arguments) {
        Ok(request) => {
            let rules = settings.rules_for(request.policy, request.recipient, &request.rules);
            let level = rules.as_ref().map_or(settings.rules.sender_key, |rules| rules.sender_key);
            if let Some(triplet) = request.triplet(settings.prefixes, level) {
                let keys = triplet.keys(&Secret([7; 16]));
                assert!(!keys.is_empty());
                assert!(triplet.keys(&Secret([7; 16])) == keys);
            }
            if let Err(misuse) = rules {
                assert_is_a_line(&misuse.text);
            }
        }
        Err(misuse) => assert_is_a_line(&misuse.text),
    }
});

fn assert_is_a_line(text: &str) {
    assert!(!text.is_empty() && text.chars().all(|c| !c.is_control()), "{text:?}");
}
