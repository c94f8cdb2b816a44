//! What the linker is told of the library.
//!
//! The unwinder is linked statically: one library less for every Exim process to find, map and relocate.
//! Rust's standard library asks the linker for `-lgcc_s`. A linker script of that name, found first, gives it
//! the static `libgcc_eh` instead, which gcc itself uses with `-static-libgcc`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from).filter(|_| gnu) else {
        return;
    };
    if let Err(e) = fs::write(out.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n") {
        println!("cargo::error=cannot write the linker script: {e}");
    }
    println!("cargo::rustc-link-search=native={}", out.display());
    room_for_one_page(&out);
}

/// Leaves so much room around the library's code and constants that they can be one page of 2 MB, see
/// src/ffi/detached.rs. Room of addresses: where the linker would make the file larger for it, as GNU ld
/// does, or does not know the options, all stays as usual.
fn room_for_one_page(out: &Path) {
    let options = "-Clink-arg=-Wl,-z,max-page-size=0x200000,--no-rosegment";
    if links_with(out, options).is_some_and(|size| size < 1 << 20) {
        println!("cargo::rustc-cdylib-link-arg={}", options.trim_start_matches("-Clink-arg="));
    }
}

/// The size of an empty library that is linked with these options, by the linker that will link ours.
fn links_with(out: &Path, options: &str) -> Option<u64> {
    let [source, library] = ["empty.rs", "empty.so"].map(|name| out.join(name));
    fs::write(&source, "").ok()?;
    let var = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let mut rustc = Command::new(var("RUSTC")?);
    rustc.args(["--crate-type=cdylib", "-Cstrip=symbols", options, "--target", &var("TARGET")?]);
    rustc.args(var("RUSTC_LINKER").map(|linker| format!("-Clinker={linker}")));
    rustc.args(var("CARGO_ENCODED_RUSTFLAGS").iter().flat_map(|flags| flags.split('\x1f')));
    let linked = rustc.arg("-o").arg(&library).arg(&source).output().ok()?.status.success();
    linked.then(|| fs::metadata(&library).ok())?.map(|library| library.len())
}
