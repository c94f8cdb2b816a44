//! Whether SELinux lets Exim use the store.

use super::Findings;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the kernel shows what SELinux does.
const SELINUX: &str = "/sys/fs/selinux";

pub(super) fn check(store: &Path, findings: &mut Findings) {
    let label = Command::new("stat").args(["-c", "%C"]).arg(store).stderr(Stdio::null()).output();
    let label =
        label.map_or_else(|_| "?".into(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    fedora(Path::new(SELINUX), store, label.trim(), findings);
}

/// Whether Fedora's policy lets Exim use the store, which has this `label`. It lets Exim make directories and
/// files where they are labelled as its spool, and map them into memory, as LMDB does, by a boolean. Another
/// policy may allow it in another way.
fn fedora(selinux: &Path, store: &Path, label: &str, findings: &mut Findings) {
    let says = |name: &str, value: char| {
        fs::read_to_string(selinux.join(name)).is_ok_and(|text| text.starts_with(value))
    };
    if !says("enforce", '1') {
        return;
    }
    let unmapped = says("booleans/domain_can_mmap_files", '0');
    if unmapped {
        let text = "Exim may not map the store into memory: setsebool -P domain_can_mmap_files 1";
        findings.warning("selinux", format!("enforcing; {text}"));
    }
    if label.split(':').nth(2).is_some_and(|kind| kind != "exim_spool_t") {
        let store = store.display();
        findings.warning(
            "selinux",
            format!(
                "enforcing; Exim may not write {store}, labelled {label}: semanage fcontext -a -t exim_spool_t \
                 '{store}(/.*)?' && restorecon -R {store}"
            ),
        );
    } else if !unmapped {
        findings.ok("selinux", "enforcing; Exim may map and write the store");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Health;
    use super::*;

    /// What the doctor says with these words in `enforce` and `domain_can_mmap_files`, and this label of the
    /// store.
    fn said(enforce: &str, map: &str, label: &str) -> Vec<(Health, String)> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("booleans")).unwrap();
        fs::write(dir.path().join("enforce"), enforce).unwrap();
        fs::write(dir.path().join("booleans/domain_can_mmap_files"), map).unwrap();
        let mut findings = Findings::default();
        fedora(dir.path(), Path::new("/var/lib/eximgrey"), label, &mut findings);
        findings.0.into_iter().map(|check| (check.health, check.text)).collect()
    }

    /// With SELinux, the doctor says which command lets Exim use the store, and nothing where SELinux is not
    /// enforcing.
    #[test]
    fn the_doctor_says_what_selinux_must_be_told() {
        let (good, bad) = ("system_u:object_r:exim_spool_t:s0", "system_u:object_r:var_lib_t:s0");
        assert_eq!(said("0", "0 0", bad), []);
        let mut none = Findings::default();
        fedora(Path::new("/nonexistent"), Path::new("/var/lib/eximgrey"), "?", &mut none);
        assert!(none.0.is_empty());

        assert_eq!(said("1", "1 1", good)[0].0, Health::Ok);
        let [(Health::Warning, text)] = &said("1", "0 0", good)[..] else { unreachable!() };
        assert!(text.ends_with("setsebool -P domain_can_mmap_files 1"), "{text}");
        let [(Health::Warning, text)] = &said("1", "1 1", bad)[..] else { unreachable!() };
        let command = "semanage fcontext -a -t exim_spool_t '/var/lib/eximgrey(/.*)?' && restorecon -R /var/lib/eximgrey";
        assert!(text.ends_with(command), "{text}");
        assert_eq!(said("1", "0 0", bad).len(), 2);
    }
}
