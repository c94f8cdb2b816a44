//! Any bytes as a sender and its recipient: no panic, a bounded key, the same key whoever asks, in any case.
//!
//! The input is the sender, a newline, the recipient.
#![no_main]

use eximgrey::sender::{Level, explain, normalise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == b'\n');
    let sender = parts.next().unwrap_or_default();
    let recipient = parts.next();
    for level in [Level::Full, Level::Unwrap, Level::Exact] {
        let key = normalise(sender, recipient, level);
        assert!(key.as_bytes().len() <= sender.len() + 2);
        assert_eq!(explain(sender, recipient, level).key, key);
        assert_eq!(normalise(&sender.to_ascii_uppercase(), recipient, level), key);
        assert!(key.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
    }
});
