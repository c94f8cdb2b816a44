//! What a store can suffer: another boot, another version, damage, a lost right. Mail passes, nothing that can
//! be kept is lost, and nothing crashes.

use super::{CLIENT, KNOWN, NEW, RECIPIENT, RETRIED, SENDER};
use crate::common::driver::Built;
use crate::common::{NOBODY, Place, as_store_user, run, skipped_without_root};
use eximgrey::request::Request;
use eximgrey::store::Table;
use eximgrey::store::lmdb::Patience;
use eximgrey::time::Seconds;
use eximgrey::triplet::Triplet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const DAMAGED: &str = "action=pass reason=error error=store-damaged";
const NOT_OPEN: &str = "action=pass reason=error error=store-open";

pub const TRIPLET: [&str; 3] = [CLIENT, SENDER, RECIPIENT];

/// A place whose store knows TRIPLET, and has a first attempt of another.
fn with_known_mail(settings: &str) -> (Place, Built) {
    let place = Place::new(&format!("delay = \"0s\"\n{settings}"));
    let built = Built::new(&place);
    remember(&place, &built);
    (place, built)
}

pub fn remember(place: &Place, built: &Built) {
    let mut driver = built.start();
    assert_eq!(driver.greylist(place, &TRIPLET), NEW);
    assert_eq!(driver.greylist(place, &TRIPLET), RETRIED);
    assert_eq!(driver.greylist(place, &["10.9.9.9", SENDER, "waits@rcpt.example"]), NEW);
    driver.end();
}

/// The answer of a session of its own, which must neither crash nor print.
pub fn answer(place: &Place, built: &Built, arguments: &[&str]) -> String {
    let mut driver = built.start();
    let reply = driver.greylist(place, arguments);
    driver.end();
    reply
}

/// First attempts of another boot may be torn: they are removed unread, and those of this boot begin anew.
#[test]
fn first_attempts_of_another_boot_are_removed_unread() {
    let (place, built) = with_known_mail("");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let current = place.store().join(format!("pending-{}", boot.trim()));
    let other = place.store().join("pending-01234567-89ab-cdef-0123-456789abcdef");
    as_store_user(|| {
        // What a crash of the machine leaves, at its worst.
        fs::rename(&current, &other).unwrap();
        fs::write(other.join("data.mdb"), vec![0xa5; 1 << 16]).unwrap();
    });
    assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
    assert!(other.exists(), "known mail looks at no first attempts");
    assert_eq!(answer(&place, &built, &["10.9.9.9", SENDER, "waits@rcpt.example"]), NEW);
    assert!(!other.exists());
    assert!(current.join("data.mdb").exists());
    assert_eq!(answer(&place, &built, &["10.9.9.9", SENDER, "waits@rcpt.example"]), RETRIED);
}

/// A record of a later version is left as it is: mail passes, `status` counts it, and other mail is greylisted.
#[test]
fn a_record_of_an_unknown_version_is_left_alone() {
    let (place, built) = with_known_mail("");
    let later = b"\x63\x02 of a version to come".to_vec();
    let key = as_store_user(|| {
        let arguments = TRIPLET.map(str::as_bytes);
        let request = Request::parse(&arguments).unwrap();
        let settings = place.settings();
        let triplet: Triplet<'_> = request.triplet(settings.prefixes, settings.rules.sender_key).unwrap();
        let store = place.open();
        let key = triplet.keys(store.secret())[0].known;
        let put = store
            .environment(Table::Known)
            .unwrap()
            .write(Patience::UpTo(Seconds(5)), |writer| Ok(writer.put(&key.0, &later)?));
        put.unwrap();
        key
    });
    for _ in 0..3 {
        assert_eq!(answer(&place, &built, &TRIPLET), DAMAGED);
    }
    let waits = ["10.9.9.9", SENDER, "waits@rcpt.example"];
    assert_eq!(answer(&place, &built, &waits), RETRIED);
    let there = as_store_user(|| {
        let store = place.open();
        store
            .environment(Table::Known)
            .unwrap()
            .read(|snapshot| Ok(snapshot.get(&key.0)?.map(<[u8]>::to_vec)))
            .unwrap()
    });
    assert_eq!(there, Some(later));
    let status =
        run(Command::new(env!("CARGO_BIN_EXE_eximgrey")).arg("--config").arg(place.config()).arg("status"));
    let text = String::from_utf8(status.stdout).unwrap();
    assert!(text.contains("\nskipped    1 record of another version\n"), "{text}");
}

/// A store whose head is of a later version is not touched: mail passes.
#[test]
fn a_store_of_an_unknown_version_is_left_alone() {
    let (place, built) = with_known_mail("");
    as_store_user(|| {
        let store = place.open();
        let put = store
            .environment(Table::Known)
            .unwrap()
            .write(Patience::UpTo(Seconds(5)), |writer| Ok(writer.put(b"\0\0meta", b"\x63\x00later")?));
        put.unwrap();
    });
    let before = place.tree();
    assert_eq!(answer(&place, &built, &TRIPLET), DAMAGED);
    assert_eq!(place.tree(), before);
}

/// A file that was cut short is noticed before it is used: mail passes, and nothing crashes.
#[test]
fn a_store_that_was_cut_short_is_not_used() {
    let (place, built) = with_known_mail("");
    let mut driver = built.start();
    let config = crate::hexadecimal(place.config_option().as_bytes());
    // More than the pages that a sound file may lack at its end.
    assert_eq!(driver.ask(&format!("loop 7 9000 4000 {config}")), "done");
    driver.end();
    let data = place.store().join("known/data.mdb");
    let whole = fs::read(&data).unwrap();
    assert!(whole.len() > 600 << 10, "{}", whole.len());
    for length in [whole.len() / 2, 40_000, 8192, 8191, 4096, 100] {
        fs::write(&data, &whole[..length]).unwrap();
        assert_eq!(answer(&place, &built, &TRIPLET), DAMAGED, "{length} bytes");
    }
    fs::write(&data, &whole).unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
}

/// Files that are no database at all are damage.
#[test]
fn a_file_that_is_no_database_is_damage() {
    for content in [vec![0_u8; 1 << 20], vec![b'x'; 1 << 20], b"[store]\n".to_vec()] {
        let (place, built) = with_known_mail("");
        fs::write(place.store().join("known/data.mdb"), content).unwrap();
        assert_eq!(answer(&place, &built, &TRIPLET), DAMAGED);
    }
}

/// A store that is missing, is no directory, or may not be read or written is `store-open`, and mail passes; once it is
/// mended the next session works.
#[test]
fn a_store_that_cannot_be_opened_lets_mail_pass() {
    let (place, built) = with_known_mail("");
    let (store, elsewhere) = (place.store(), place.path("elsewhere"));
    fs::rename(&store, &elsewhere).unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), NOT_OPEN, "missing");
    fs::write(&store, "").unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), NOT_OPEN, "no directory");
    fs::remove_file(&store).unwrap();
    fs::create_dir(&store).unwrap();
    crate::common::give_to_store_user(&store);
    fs::set_permissions(&store, Permissions::from_mode(0o500)).unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), NOT_OPEN, "read-only");
    fs::set_permissions(&store, Permissions::from_mode(0o000)).unwrap();
    assert_eq!(answer(&place, &built, &TRIPLET), NOT_OPEN, "closed");
    fs::remove_dir(&store).unwrap();
    fs::rename(&elsewhere, &store).unwrap();

    // What is known is answered without a write; a retry that becomes known is one.
    let known = store.join("known");
    let other = ["192.0.2.8", "other@sender.example", "bob@example.org"];
    assert!(answer(&place, &built, &other).contains("reason=new"));
    for (file, mode, of_known) in [
        ("data.mdb", 0o400, KNOWN),
        ("data.mdb", 0o000, NOT_OPEN),
        ("lock.mdb", 0o400, NOT_OPEN),
        ("lock.mdb", 0o000, NOT_OPEN),
    ] {
        let path = known.join(file);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(answer(&place, &built, &TRIPLET), of_known, "{file} {mode:o}");
        assert_eq!(answer(&place, &built, &other), NOT_OPEN, "{file} {mode:o}");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    }
    assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
    assert!(answer(&place, &built, &other).contains("reason=retried"));
}

/// A store of another user's is `store-open`.
#[test]
fn a_store_of_somebody_else_lets_mail_pass() {
    if skipped_without_root("a store of another user") {
        return;
    }
    let place = Place::new("delay = \"0s\"");
    let built = Built::new(&place);
    std::os::unix::fs::chown(place.store(), Some(NOBODY - 1), Some(NOBODY - 1)).unwrap();
    for mode in [0o750, 0o755] {
        fs::set_permissions(place.store(), Permissions::from_mode(mode)).unwrap();
        assert_eq!(answer(&place, &built, &TRIPLET), NOT_OPEN, "{mode:o}");
    }
    assert_eq!(place.tree(), Vec::<String>::new());
}

/// A small store that was cut short is answered from what is left or not at all: nothing crashes.
#[test]
fn a_small_store_that_was_cut_short_is_not_used() {
    let (place, built) = with_known_mail("");
    let data = place.store().join("known/data.mdb");
    let whole = fs::read(&data).unwrap();
    for length in (8_000..whole.len()).step_by(500) {
        fs::write(&data, &whole[..length]).unwrap();
        let reply = answer(&place, &built, &TRIPLET);
        assert!(reply == DAMAGED || reply == KNOWN, "{length} bytes: {reply}");
        if length < 3 * 4096 {
            assert_eq!(reply, DAMAGED, "{length} bytes");
        }
    }
}
