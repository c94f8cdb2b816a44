//! A full disk: mail passes, known mail is known, and greylisting goes on when there is room again.

use super::faults::{TRIPLET, answer, remember};
use super::{KNOWN, NEW, RETRIED, SENDER};
use crate::common::driver::Built;
use crate::common::{Place, as_store_user, in_thread, skipped_without_root};
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const FULL: &str = "action=pass reason=error error=store-full";

/// A mounted file system, until the test ends.
struct Disk(tempfile::TempDir);

impl Drop for Disk {
    fn drop(&mut self) {
        let path = path_of(&self.0);
        // SAFETY: the text ends in NUL and outlives the call. The directory can be removed once nothing is mounted there.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

fn path_of(dir: &tempfile::TempDir) -> CString {
    CString::new(dir.path().as_os_str().as_bytes()).unwrap()
}

/// Runs `test` with a file system of its own of so many bytes, which nobody else sees.
fn on_a_small_disk(bytes: u32, test: impl FnOnce(&Path) + Send) {
    in_thread(|| {
        // SAFETY: unshare takes flags, and concerns this thread only; mount takes texts that end in NUL.
        unsafe {
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0, "unshare");
            let none = std::ptr::null();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            assert_eq!(libc::mount(none, c"/".as_ptr(), none, private, none.cast()), 0, "private mounts");
        }
        let disk = Disk(tempfile::tempdir_in("/tmp").unwrap());
        let (path, kind) = (path_of(&disk.0), c"tmpfs".as_ptr());
        let options = CString::new(format!("size={bytes},mode=0755")).unwrap();
        // SAFETY: as above; the texts outlive the call.
        let mounted = unsafe { libc::mount(kind, path.as_ptr(), kind, 0, options.as_ptr().cast()) };
        assert_eq!(mounted, 0, "tmpfs");
        test(disk.0.path());
    });
}

fn fill_disk(disk: &Path) {
    let mut filler = OpenOptions::new().append(true).create(true).open(disk.join("filler")).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        let block = vec![0_u8; size];
        while filler.write_all(&block).is_ok() {}
    }
}

/// On a full disk mail passes and known mail is known; when there is room again, greylisting goes on in the same
/// session, and nothing that was recorded is lost.
#[test]
fn a_full_disk_stops_greylisting_and_nothing_else() {
    if skipped_without_root("a small disk") {
        return;
    }
    on_a_small_disk(4 << 20, |disk| {
        let tools = Place::new("");
        let built = Built::new(&tools);
        let place = Place::in_directory(disk, "delay = \"0s\"");
        remember(&place, &built);
        let mut session = built.start();
        assert_eq!(session.greylist(&place, &TRIPLET), KNOWN);
        fill_disk(disk);
        // LMDB uses what it has freed before it needs a new page, so some are still recorded. Who is refused stays so: no
        // room comes back to the page that its record belongs to.
        let asked: Vec<_> =
            (0..400).map(|n| (format!("10.3.{}.1", n % 250), format!("{n}@rcpt.example"))).collect();
        let mut ask = |(client, recipient): &(String, String)| {
            session.greylist(&place, &[client.as_str(), SENDER, recipient.as_str()])
        };
        let replies: Vec<_> = asked.iter().map(&mut ask).collect();
        assert!(replies.iter().all(|reply| reply == FULL || reply == NEW), "{replies:?}");
        let refused = replies.iter().rposition(|reply| reply == FULL).expect("a full disk");
        let (client, recipient) = &asked[refused];
        let late = [client.as_str(), SENDER, recipient.as_str()];
        let mut other = built.start();
        for session in [&mut session, &mut other] {
            assert_eq!(session.greylist(&place, &TRIPLET), KNOWN);
            assert_eq!(session.greylist(&place, &late), FULL);
        }
        fs::remove_file(disk.join("filler")).unwrap();
        assert_eq!(session.greylist(&place, &late), NEW);
        assert_eq!(other.greylist(&place, &late), RETRIED);
        assert_eq!(other.greylist(&place, &["10.9.9.9", SENDER, "waits@rcpt.example"]), RETRIED);
        assert_eq!(session.greylist(&place, &TRIPLET), KNOWN);
        session.end();
        other.end();
    });
}

/// A machine that boots with a full disk: there is no room for a new store or new first attempts, and mail passes.
#[test]
fn a_disk_that_is_full_from_the_start_lets_mail_pass() {
    if skipped_without_root("a small disk") {
        return;
    }
    on_a_small_disk(3 << 20, |disk| {
        let tools = Place::new("");
        let built = Built::new(&tools);
        let place = Place::in_directory(disk, "delay = \"0s\"");
        fill_disk(disk);
        assert_eq!(answer(&place, &built, &TRIPLET), FULL);
        fs::remove_file(disk.join("filler")).unwrap();
        remember(&place, &built);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let pending = place.store().join(format!("pending-{}", boot.trim()));
        for pages in 0..24 {
            as_store_user(|| fs::remove_dir_all(&pending).unwrap());
            fill_disk(disk);
            let left = fs::metadata(disk.join("filler")).unwrap().len() - pages * 4096;
            let filler = OpenOptions::new().write(true).open(disk.join("filler"));
            filler.and_then(|filler| filler.set_len(left)).unwrap();
            let late = ["10.4.4.4", SENDER, &format!("{pages}@rcpt.example")];
            let reply = answer(&place, &built, &late);
            assert!(reply == FULL || reply == NEW, "{pages} pages are free: {reply}");
            assert_eq!(answer(&place, &built, &TRIPLET), KNOWN);
            fs::remove_file(disk.join("filler")).unwrap();
            // There is room again.
            let now = answer(&place, &built, &late);
            assert!(now == if reply == FULL { NEW } else { RETRIED }, "{pages} pages were free: {now}");
        }
    });
}
