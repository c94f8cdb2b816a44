//! Whole decisions as Exim asks for them: arguments as C strings in, the reply's text out, on a store with 10,000
//! known triplets and 100,000 first attempts.
//!
//! `cargo bench --bench decision`
#![allow(unsafe_code)]

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use eximgrey::ffi;
use std::ffi::{CStr, CString, c_int};
use std::hint::black_box;
use std::path::Path;

const WARM: u32 = 100_000;

/// The arguments of one call.
struct Call {
    _texts: Vec<CString>,
    pointers: Vec<*mut u8>,
}

impl Call {
    fn new(arguments: &[String]) -> Self {
        let texts: Vec<CString> = arguments.iter().filter_map(|a| CString::new(a.as_str()).ok()).collect();
        let pointers = texts.iter().map(|text| text.as_ptr().cast::<u8>().cast_mut()).collect();
        Self { _texts: texts, pointers }
    }

    fn greylist(&mut self) -> &'static CStr {
        let mut answer = std::ptr::null_mut();
        // SAFETY: the pointers are those of C strings that live as long as `self`; the answer is a C string of the
        // library that stays valid until the next call, after which it is not looked at.
        unsafe {
            ffi::greylist(&raw mut answer, self.pointers.len() as c_int, self.pointers.as_mut_ptr());
            CStr::from_ptr(answer.cast())
        }
    }

    /// One decision, which must have this reason: a figure for a mistake would look fine.
    fn expect(&mut self, reason: &str) {
        let reply = black_box(self.greylist()).to_string_lossy();
        assert!(reply.contains(reason), "{reply}");
    }
}

fn triplet(config: &Path, i: u32, options: &[&str]) -> Call {
    let [_, b, c, d] = i.to_be_bytes();
    let fixed = [
        format!("10.{b}.{c}.{d}"),
        format!("person{i}x@sender.example"),
        "somebody@recipient.example".to_owned(),
        format!("config={}", config.display()),
    ];
    Call::new(&fixed.into_iter().chain(options.iter().map(|&o| o.to_owned())).collect::<Vec<_>>())
}

fn decisions(criterion: &mut Criterion) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let config = dir.path().join("eximgrey.toml");
    let text = format!("store = \"{}\"\ndelay = \"0s\"\nauto_after = 0\n", dir.path().display());
    if std::fs::write(&config, text).is_err() {
        return;
    }
    for i in 0..WARM {
        let mut call = triplet(&config, i, &[]);
        call.expect("reason=new");
        if i % 10 == 0 {
            call.expect("reason=retried");
        }
    }

    let mut next = 10 * WARM;
    let mut fresh = || {
        next += 1;
        next
    };
    criterion.bench_function("known", |b| {
        let mut call = triplet(&config, 5_000, &[]);
        b.iter(|| call.expect("reason=known"));
    });
    criterion.bench_function("known, with spf and host", |b| {
        let mut call = triplet(&config, 6_000, &["spf=sender.example", "host=mx.sender.example"]);
        b.iter(|| call.expect("reason=known"));
    });
    criterion.bench_function("early", |b| {
        let mut call = triplet(&config, 77, &["delay=1h"]);
        b.iter(|| call.expect("reason=early"));
    });
    criterion.bench_function("new", |b| {
        b.iter_batched_ref(
            || triplet(&config, fresh(), &[]),
            |call| call.expect("reason=new"),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("new, learning off", |b| {
        b.iter_batched_ref(
            || triplet(&config, fresh(), &["learn=off"]),
            |call| call.expect("reason=new"),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("new, with spf and host", |b| {
        b.iter_batched_ref(
            || {
                let i = fresh();
                let spf = format!("spf=d{i}.example");
                triplet(&config, i, &[&spf, "host=mx.sender.example"])
            },
            |call| call.expect("reason=new"),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, decisions);
criterion_main!(benches);
