//! What `docs/schemas` say of the output with `--json`.

use boon::{Compiler, Draft, Schemas};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

/// The names of all schemas.
pub fn all() -> Vec<String> {
    let files = std::fs::read_dir(directory()).unwrap();
    let mut names: Vec<_> =
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Why the schema with that name does not hold for a value, if so.
pub fn fault(name: &str, value: &Value) -> Option<String> {
    let file = directory().join(format!("{name}.json"));
    let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
    compiler.set_default_draft(Draft::V2020_12);
    let schema =
        compiler.compile(file.to_str().unwrap(), &mut schemas).unwrap_or_else(|e| panic!("{name}: {e}"));
    schemas.validate(value, schema).err().map(|error| format!("{name}: {error:#}\n{value}"))
}

/// Fails where a line of output is not as its schema says; says how many lines there are.
#[track_caller]
pub fn check(name: &str, output: &str) -> usize {
    for line in output.lines() {
        let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
        if let Some(fault) = fault(name, &value) {
            panic!("{fault}");
        }
    }
    output.lines().count()
}
