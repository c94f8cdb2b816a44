//! Any text as an entry of the whitelist and as a line of postgrey's lists: no panic; the form in which an entry is kept is
//! kept as it is.
#![no_main]

use eximgrey::whitelist::ListKind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for &kind in ListKind::ALL {
        if let Ok(entry) = kind.canonical(text) {
            let entry = String::from_utf8(entry).expect("an entry is text");
            assert_eq!(kind.canonical(&entry).map(String::from_utf8), Ok(Ok(entry)));
        }
    }
});
