//! Links the unwinder statically: one library less for every Exim process to find, map and relocate.
//!
//! Rust's standard library asks the linker for `-lgcc_s`. A linker script of that name, found first, gives it the static
//! `libgcc_eh` instead, which gcc itself uses with `-static-libgcc`.

use std::path::PathBuf;
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
}
