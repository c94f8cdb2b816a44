//! What a sender key costs: a typical address, each wrapping, and the worst that 512 bytes can do.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use eximgrey::sender::{Level, normalise};

fn typical(c: &mut Criterion) {
    let recipient: &[u8] = b"walter.white@uni.example.edu";
    let addresses = [
        ("person", "alice.jones@mail.example.org"),
        ("list", "v8-users-return-6834-walter.white=uni.example.edu@lists.example.org"),
        ("srs", "SRS0=Nj3f=GN=news.example.org=bounces+SRS=0APus=XB@fwd.example.net"),
        ("batv", "prvs=0197a2d3df=alice@example.org"),
        ("token", "010201996bceb3ee-06bd71a2-3804-4423-ae3e-51eafc83d366-000000@eu-west-1.mailer.example"),
    ];
    for (name, address) in addresses {
        c.bench_function(&format!("sender/{name}"), |b| {
            b.iter(|| normalise(black_box(address.as_bytes()), Some(black_box(recipient)), Level::Full))
        });
    }
}

fn worst(c: &mut Criterion) {
    let mut slowest = (0, String::new(), Vec::new());
    for (name, address) in hostile() {
        // The slowest by a quick look is the one that is measured.
        let recipient = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab@aaaa.aa";
        let nanos = (0..200)
            .map(|_| {
                let start = std::time::Instant::now();
                black_box(normalise(black_box(&address), Some(recipient), Level::Full));
                start.elapsed().as_nanos()
            })
            .min()
            .unwrap();
        if nanos > slowest.0 {
            slowest = (nanos, name, address);
        }
    }
    let (_, name, address) = slowest;
    let recipient: &[u8] = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab@aaaa.aa";
    println!("worst is {name}");
    c.bench_function("sender/worst", |b| {
        b.iter(|| normalise(black_box(&address), Some(black_box(recipient)), Level::Full))
    });
}

/// 512 bytes each, made of one piece repeated.
fn hostile() -> Vec<(String, Vec<u8>)> {
    let pieces = [
        "a",
        "1",
        "a1",
        "-",
        "=",
        "+",
        "a-",
        "1-",
        "a1-",
        "bounce-",
        "bounce-1-",
        "+srs=",
        "srs0=",
        "srs0=a=a=a.b=",
        "=40",
        "%40",
        "_at_",
        "=a.aa=1",
        "a+",
        "1+/",
        "==a==",
        "a=b.cc-",
        ".aa",
        "a.aa",
        "00000000-0000-0000-0000-000000000000",
        "00000000-",
        "**",
        "*",
        "prvs=12345678=",
        "btv1==1==",
        "==_",
        "20261121-",
        "2026-11-21-",
        "\u{e9}",
        "\"",
    ];
    let domains = ["a.aa", "bounces.a.aa", "1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.1a.a.aa"];
    let prefixes = ["", "bounce-", "a+", "SRS0=a=aa=a.aa="];
    let mut all = Vec::new();
    for piece in pieces {
        for domain in domains {
            for prefix in prefixes {
                let room = 511 - domain.len() - prefix.len();
                let mut address = prefix.as_bytes().to_vec();
                address.extend(piece.bytes().cycle().take(room));
                address.push(b'@');
                address.extend_from_slice(domain.as_bytes());
                all.push((format!("{prefix}({piece})*@{domain}"), address));
            }
        }
    }
    all.extend(["-", "a."].map(|piece| {
        (
            format!("a-1@({piece})*"),
            [b"a-12345678-12345678@", piece.repeat(512).as_bytes()].concat().into_iter().take(512).collect(),
        )
    }));
    all
}

criterion_group!(benches, typical, worst);
criterion_main!(benches);
