//! `src/ffi/bindings.rs` is what bindgen makes of the `local_scan.h` of Debian's exim4-dev.
//!
//! Where exim4-dev or libclang is missing the comparison cannot be made, and the test says so. `make test` installs
//! both. `make bindings` writes the file anew.

#![allow(clippy::expect_used)]

use std::path::Path;

const HEADER: &str = "/usr/include/exim4/local_scan.h";
const BINDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ffi/bindings.rs");

fn generate() -> String {
    let names = "OK|DEFER|FAIL|ERROR|FAIL_FORCED|LOG_MAIN|D_local_scan";
    bindgen::builder()
        .header(HEADER)
        .allowlist_type("exim_dlfunc_t")
        .allowlist_var(names)
        .allowlist_recursively(true)
        .layout_tests(false)
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .use_core()
        .formatter(bindgen::Formatter::Prettyplease)
        .raw_line("// Made by bindgen from Exim's local_scan.h: the ABI of ${dlfunc}. Do not edit: `make bindings`.")
        .disable_header_comment()
        .generate()
        .expect("bindgen reads local_scan.h")
        .to_string()
}

#[test]
fn the_bindings_are_those_of_the_header() {
    let libclang = Path::new("/usr/lib/llvm-14/lib").exists() || std::env::var_os("LIBCLANG_PATH").is_some();
    if !Path::new(HEADER).exists() || !libclang {
        println!("not compared: needs exim4-dev and libclang-dev");
        return;
    }
    let generated = generate();
    if std::env::var_os("EXIMGREY_WRITE_BINDINGS").is_some() {
        std::fs::write(BINDINGS, &generated).expect("src/ffi/bindings.rs can be written");
    }
    let committed = std::fs::read_to_string(BINDINGS).expect("src/ffi/bindings.rs");
    assert_eq!(committed, generated, "run `make bindings`");
}
