//! `src/ffi/bindings/` is what bindgen makes of Exim's `local_scan.h`: a file for each generation of its ABI.
//!
//! Compared is the header of Debian's exim4-dev that is installed, or those in the directory `EXIMGREY_HEADERS`. Where
//! there is none, or no libclang, the comparison cannot be made, and the test says so. `make test` installs both, and
//! `make test-exims` compares the headers of every Exim that it runs. `make bindings` writes the file anew.

#![allow(clippy::expect_used)]

use std::path::{Path, PathBuf};

/// The generations, newest first: the first ABI version of each (`LOCAL_SCAN_ABI_VERSION_MAJOR`), and its file.
const GENERATIONS: [(u32, &str); 2] = [(9, "exim_4_100.rs"), (2, "exim_4_99.rs")];

fn generate(header: &Path) -> String {
    bindgen::builder()
        .header(header.to_string_lossy())
        .allowlist_type("exim_dlfunc_t|BOOL")
        .allowlist_var("OK|DEFER|FAIL|ERROR|FAIL_FORCED|LOG_MAIN|D_local_scan")
        .allowlist_var("debug_selector|host_checking|smtp_input")
        .allowlist_function("log_write|debug_printf|is_debug")
        .allowlist_recursively(true)
        .layout_tests(false)
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .use_core()
        .formatter(bindgen::Formatter::Prettyplease)
        .raw_line("// Made by bindgen from Exim's local_scan.h: its ABI. Do not edit: `make bindings`.")
        .disable_header_comment()
        .generate()
        .expect("bindgen reads local_scan.h")
        .to_string()
}

/// The file for a header, by the version that it names.
fn generation(header: &Path) -> &'static str {
    let text = std::fs::read_to_string(header).expect("local_scan.h");
    let version = text.lines().find_map(|line| line.strip_prefix("#define LOCAL_SCAN_ABI_VERSION_MAJOR "));
    let version: u32 = version.and_then(|number| number.trim().parse().ok()).expect("a version of the ABI");
    GENERATIONS.iter().find(|(first, _)| version >= *first).expect("a generation that is known").1
}

#[test]
fn the_bindings_are_those_of_the_header() {
    let headers = std::env::var_os("EXIMGREY_HEADERS").map_or("/usr/include/exim4".into(), PathBuf::from);
    let header = headers.join("local_scan.h");
    let libclang = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let libclang = { libclang }.any(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
    if !header.exists() || !(libclang || std::env::var_os("LIBCLANG_PATH").is_some()) {
        println!("not compared: needs exim4-dev and libclang-dev");
        return;
    }
    let bindings = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi/bindings").join(generation(&header));
    let generated = generate(&header);
    if std::env::var_os("EXIMGREY_WRITE_BINDINGS").is_some() {
        std::fs::write(&bindings, &generated).expect("src/ffi/bindings can be written");
    }
    let committed = std::fs::read_to_string(&bindings).expect("the bindings");
    assert_eq!(committed, generated, "{}: run `make bindings`", header.display());
}
