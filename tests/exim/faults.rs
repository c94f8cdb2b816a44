//! Whatever is broken about greylisting, mail flows, and the log says what is broken.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use eximgrey::memory::Access;
use eximgrey::settings::StoreSettings;
use eximgrey::store::lmdb::{Env, Patience};
use eximgrey::store::{Store, Table};
use eximgrey::time::{Seconds, Timestamp};

use crate::smtp::{Client, attempt};
use crate::world::{
    World, in_own_world, mount_bind, mount_tmpfs, remount_read_only, wait_until, wait_until_unused,
};

const CLIENT: &str = "198.51.100.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";

/// Mail and bounces are accepted at the first attempt; the log has a line with the error's word for each, and
/// one of the library that names the file or directory in trouble.
#[track_caller]
fn expect_fails_open(world: &World, error: &str, trouble: &Path) {
    let _exim = world.start_exim("");
    expect_mail_flows(world, error);
    let named = |line: &String| line.contains(trouble.to_str().unwrap());
    let details = world.log_lines("eximgrey: ").into_iter().filter(named);
    assert_eq!(details.count(), 2, "one line a process:\n{}", world.main_log());
}

#[track_caller]
fn expect_mail_flows(world: &World, error: &str) {
    attempt(CLIENT, SENDER, USER).expect_accepted();
    attempt(CLIENT, "", USER).expect_accepted();
    let line = format!("eximgrey: action=pass reason=error error={error} H=[{CLIENT}]");
    world.wait_for_log(&line, 2);
    let lines = world.log_lines("reason=error");
    assert_eq!(lines.len(), 2, "one line a decision:\n{}", world.main_log());
}

/// An Exim that the library does not know: nothing of it is called, and what would be in its log is in the system's. A
/// library with the symbols of both generations makes it one.
#[test]
fn an_unknown_exim_is_greylisted_and_its_details_go_to_syslog() {
    in_own_world(|world| {
        let (source, symbols) = (world.path("symbols.c"), world.path("symbols.so"));
        fs::write(&source, "unsigned debug_selector; void is_debug(void) { __builtin_trap(); }\n").unwrap();
        let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&symbols, &source]).status();
        assert!(compiled.expect("run cc").success());
        let log = own_syslog();
        for preload in ["", "EXIMGREY_PRELOAD = 0"] {
            let sender = format!("alice@{}sender.test", preload.len());
            world.configure("delay = \"0s\"");
            let exim = world.start_exim_under(&symbols, preload);
            attempt(CLIENT, &sender, USER).expect_greylisted();
            attempt(CLIENT, &sender, USER).expect_accepted();
            world.configure("delay = 7");
            attempt(CLIENT, &sender, USER).expect_accepted();
            drop(exim);
            let mut bytes = [0; 1000];
            let length = log.recv(&mut bytes).unwrap();
            let line = String::from_utf8_lossy(&bytes[..length]).into_owned();
            assert!(line.starts_with("<20>exim[") && line.contains("eximgrey.toml:2"), "{line}");
        }
        world.wait_for_log("reason=error error=bad-config", 2);
        assert_eq!(world.log_lines("eximgrey.toml").len(), 0, "{}", world.main_log());
    });
}

/// A `/dev` with this test's log in it.
fn own_syslog() -> UnixDatagram {
    let dev = Path::new("/mnt/dev");
    fs::create_dir(dev).unwrap();
    for device in ["null", "zero", "random", "urandom"] {
        let copied = Command::new("cp").arg("-a").arg(Path::new("/dev").join(device)).arg(dev).status();
        assert!(copied.expect("run cp").success());
    }
    let log = UnixDatagram::bind(dev.join("log")).unwrap();
    log.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    fs::set_permissions(dev.join("log"), fs::Permissions::from_mode(0o666)).unwrap();
    mount_bind(dev, Path::new("/dev"));
    log
}

/// The library is not there: an upgrade gone wrong, or a package half removed.
#[test]
fn missing_library_passes() {
    in_own_world(|world| {
        fs::remove_file(world.library()).unwrap();
        let _exim = world.start_exim("");
        expect_mail_flows(world, "no-library");
    });
}

/// The library is not there and is to be preloaded by the daemon.
#[test]
fn missing_library_passes_with_preload() {
    in_own_world(|world| {
        fs::remove_file(world.library()).unwrap();
        let _exim = world.start_exim("EXIMGREY_PRELOAD = 5");
        expect_mail_flows(world, "no-library");
    });
}

/// The library is there but does not load: a disk that was full when it was installed, another architecture.
#[test]
fn broken_library_passes() {
    in_own_world(|world| {
        fs::write(world.library(), "\x7fELF").unwrap();
        for preload in ["", "EXIMGREY_PRELOAD = 5"] {
            let exim = world.start_exim(preload);
            attempt(CLIENT, SENDER, USER).expect_accepted();
            attempt(CLIENT, "", USER).expect_accepted();
            drop(exim);
        }
        world.wait_for_log("eximgrey: action=pass reason=error error=no-library", 4);
        let panic_log = world.panic_log();
        assert!(panic_log.contains("file too short"), "{panic_log}");
        world.forget_panic_log();
    });
}

/// Somebody copies over the library, in place, while a daemon has preloaded it: it goes on with what it has, whatever is in
/// the file meanwhile, and so do its children. A reload takes up what is there then.
#[test]
fn library_written_over_in_place_keeps_serving() {
    in_own_world(|world| {
        let exim = world.start_exim("EXIMGREY_PRELOAD = 50");
        let library = fs::read(world.library()).unwrap();
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        let mut session = Client::connect(CLIENT);
        let nothing = vec![0; library.len()];
        for (number, content) in [&Vec::new(), &nothing, &library].into_iter().enumerate() {
            fs::write(world.library(), content).unwrap();
            attempt(CLIENT, SENDER, USER).expect_accepted();
            attempt(CLIENT, &format!("new{number}@sender.test"), USER).expect_greylisted();
        }
        session.mail(SENDER);
        session.rcpt(USER).expect_accepted();
        session.quit();
        exim.reload();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, "bob@sender.test", USER).expect_greylisted();
    });
}

/// `make install` of another version under a daemon that has preloaded the library: it goes on with what it has, a new
/// process finds the new one, and a reload takes it up.
#[test]
fn library_installed_anew_keeps_serving() {
    in_own_world(|world| {
        let install = |version: &str| {
            let mut make = Command::new("make");
            make.args(["-s", "-C", env!("CARGO_MANIFEST_DIR"), "install", "EXIM_USER=nobody"])
                .arg(format!("DESTDIR={}", world.path("root").display()))
                .arg(format!("VERSION={version}"))
                .arg(format!("library={}", world.library().display()))
                .arg(format!("command={}", env!("CARGO_BIN_EXE_eximgrey")));
            let made = make.output().expect("run make");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        install("1");
        let directory = world.path("root/usr/lib/exim4");
        let library = directory.join("eximgrey.so");
        let exim = world.start_exim(&format!("EXIMGREY_SO == {}\nEXIMGREY_PRELOAD = 50", library.display()));
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        install("2");
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["eximgrey-2.so", "eximgrey.so"]);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        let call = format!("${{dlfunc{{{}}}{{greylist_version}}}}", library.display());
        assert!(world.expand(&call).starts_with("version="));
        exim.reload();
        attempt(CLIENT, "bob@sender.test", USER).expect_greylisted();
        attempt(CLIENT, "bob@sender.test", USER).expect_accepted();
    });
}

/// The library is replaced by renaming, again and again, while mail comes in, preloaded or not: every connection is answered,
/// and who was told to come back passes.
#[test]
fn library_replaced_under_load_loses_nobody() {
    for preload in ["", "EXIMGREY_PRELOAD = 50"] {
        in_own_world(move |world| {
            let exim = world.start_exim(preload);
            let library = fs::read(world.library()).unwrap();
            let (sent, end) = (AtomicUsize::new(0), AtomicBool::new(false));
            let send = |sender: usize| {
                // More would mean that nobody says when it is enough.
                for number in (0..5_000).take_while(|_| !end.load(Relaxed)) {
                    let from = format!("{sender}-{number}@sender.test");
                    sent.fetch_add(1, Relaxed);
                    attempt(CLIENT, &from, USER).expect_greylisted();
                    attempt(CLIENT, &from, USER).expect_accepted();
                }
            };
            std::thread::scope(|scope| {
                let send = &send;
                let senders: Vec<_> = (0..4).map(|sender| scope.spawn(move || send(sender))).collect();
                for _ in 0..20 {
                    let (draft, before) = (world.path("eximgrey.so.new"), sent.load(Relaxed));
                    fs::write(&draft, &library).unwrap();
                    fs::rename(&draft, world.library()).unwrap();
                    let failed = || senders.iter().any(|sender| sender.is_finished());
                    let enough = || sent.load(Relaxed) > before + 4 || failed();
                    wait_until(enough, || "mail between two replacements".to_owned());
                }
                end.store(true, Relaxed);
            });
            exim.reload();
            attempt(CLIENT, "0-0@sender.test", USER).expect_accepted();
            attempt(CLIENT, "new@sender.test", USER).expect_greylisted();
        });
    }
}

/// The library may not be read by Exim's user.
#[test]
fn unreadable_library_passes() {
    in_own_world(|world| {
        fs::set_permissions(world.library(), fs::Permissions::from_mode(0o600)).unwrap();
        let _exim = world.start_exim("");
        expect_mail_flows(world, "no-library");
        world.forget_panic_log();
    });
}

/// The store's directory is missing, and Exim's user may not create it.
#[test]
fn missing_store_directory_passes() {
    in_own_world(|world| {
        fs::remove_dir_all(world.store()).unwrap();
        expect_fails_open(world, "store-open", &world.store());
    });
}

/// The store's directory may not be entered.
#[test]
fn unreadable_store_directory_passes() {
    in_own_world(|world| {
        fs::set_permissions(world.store(), fs::Permissions::from_mode(0o000)).unwrap();
        expect_fails_open(world, "store-open", &world.store());
    });
}

/// The store's directory belongs to root: somebody has copied or restored it as root.
#[test]
fn store_directory_of_root_passes() {
    in_own_world(|world| {
        chown(world.store(), Some(0), Some(0)).unwrap();
        expect_fails_open(world, "store-open", &world.store());
    });
}

/// The store's files belong to root.
#[test]
fn store_files_of_root_pass() {
    in_own_world(|world| {
        let exim = world.start_exim("");
        attempt(CLIENT, "first@sender.test", USER).expect_greylisted();
        drop(exim);
        own_by_root(&world.store());
        expect_fails_open(world, "store-open", &world.store());
    });
}

fn own_by_root(path: &Path) {
    chown(path, Some(0), Some(0)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            own_by_root(&entry.unwrap().path());
        }
    }
}

/// The disk has become read-only, as Linux makes it after an error.
#[test]
fn read_only_file_system_passes() {
    in_own_world(|world| {
        let (uid, gid) = world.exim_user;
        mount_tmpfs(&world.store(), &format!("uid={uid},gid={gid},mode=0750"));
        let exim = world.start_exim("");
        attempt(CLIENT, "first@sender.test", USER).expect_greylisted();
        drop(exim);
        remount_read_only(&world.store());
        expect_fails_open(world, "store-open", &world.store());
    });
}

/// The disk has become read-only and there is no store on it yet.
#[test]
fn read_only_file_system_without_a_store_passes() {
    in_own_world(|world| {
        let (uid, gid) = world.exim_user;
        mount_tmpfs(&world.store(), &format!("uid={uid},gid={gid},mode=0750,ro"));
        remount_read_only(&world.store());
        expect_fails_open(world, "store-open", &world.store());
    });
}

/// The configuration file has a mistake.
#[test]
fn broken_configuration_passes() {
    in_own_world(|world| {
        world.configure("delay = = 5m");
        expect_fails_open(world, "bad-config", &world.path("eximgrey.toml"));
    });
}

/// A list of hosts that the configuration does not have is logged by Exim, and defers nobody.
#[test]
fn missing_host_list_passes() {
    in_own_world(|world| {
        let _exim = world.start_exim("EXIMGREY_EXEMPT_HOSTS = +no_such_list");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, "", USER).expect_accepted();
        world.wait_for_log("unknown named host list \"+no_such_list\"", 2);
        world.forget_panic_log();
    });
}

/// A mended configuration file is read at once: no reload of Exim is needed.
#[test]
fn mended_configuration_works_at_once() {
    in_own_world(|world| {
        world.configure("delay = = 5m");
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.configure("delay = \"5m\"");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
    });
}

/// The disk is full before the store exists.
#[test]
fn full_disk_without_a_store_passes() {
    in_own_world(|world| {
        small_disk(world);
        fill_disk(world);
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("eximgrey: action=pass reason=error error=store-", 1);
    });
}

/// The disk is full when the machine starts: what is known is there, the first attempts begin anew.
#[test]
fn full_disk_after_a_reboot_passes() {
    in_own_world(|world| {
        small_disk(world);
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        for entry in fs::read_dir(world.store()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with("pending-") {
                fs::remove_dir_all(path).unwrap();
            }
        }
        // A session that ends later would make room by it.
        wait_until_unused(&world.store());
        fill_disk(world);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        attempt(CLIENT, "bob@sender.test", USER).expect_accepted();
        world.wait_for_log("eximgrey: action=pass reason=error error=store-", 1);
    });
}

/// The disk fills up while mail comes in; and greylisting works again once there is room.
#[test]
fn full_disk_passes_and_recovers() {
    in_own_world(|world| {
        small_disk(world);
        let _exim = world.start_exim("smtp_accept_max_nonmail = 100000");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        fill_disk(world);
        // The first ones may find room in pages that the store has already.
        let mut client = Client::connect(CLIENT);
        let passed = (0..20_000).any(|number| {
            client.mail(&format!("sender-{number}@sender.test"));
            let reply = client.rcpt(USER);
            client.command("RSET").expect(250);
            reply.code == 250
        });
        assert!(passed, "the disk never got full");
        client.quit();
        world.wait_for_log("eximgrey: action=pass reason=error error=store-full", 1);

        fs::remove_file(world.store().join("ballast")).unwrap();
        attempt(CLIENT, "later@sender.test", USER).expect_greylisted();
        attempt(CLIENT, "later@sender.test", USER).expect_accepted();
    });
}

fn small_disk(world: &World) {
    let (uid, gid) = world.exim_user;
    mount_tmpfs(&world.store(), &format!("uid={uid},gid={gid},mode=0750,size=2m"));
}

fn fill_disk(world: &World) {
    use std::io::Write as _;
    let mut file = fs::File::create(world.store().join("ballast")).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
}

/// What takes the room on a disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    ByFiles,
    /// By files, with a copy of the store that shares its blocks.
    WithCopy,
    /// By a limit of btrfs, on a disk that has room.
    ByQuota,
}

/// A full disk whose file system writes a changed page to a new place: blocks that a file has do not help there. Mail
/// passes, of known senders too, no connection is lost, and greylisting goes on when there is room again.
fn full_loop_disk_passes(kind: &str, make: &[&str], taken: Taken) {
    let (make, kind) = (make.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), kind.to_owned());
    in_own_world(move |world| {
        let run = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            let output = output.unwrap_or_else(|e| panic!("{program} (see scripts/setup): {e}"));
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let (image, store) = (world.path("image"), world.store());
        let (image, store) = (image.to_str().unwrap(), store.to_str().unwrap());
        fs::File::create(image).unwrap().set_len(320 << 20).unwrap();
        let arguments = make[1..].iter().map(String::as_str).chain([image]).collect::<Vec<_>>();
        run(&make[0], &arguments);
        run("mount", &["-o", "loop", image, store]);
        if taken == Taken::ByQuota {
            run("btrfs", &["quota", "enable", store]);
            run("btrfs", &["qgroup", "limit", "24m", store]);
        }
        let (uid, gid) = world.exim_user;
        chown(world.store(), Some(uid), Some(gid)).unwrap();

        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        let copy = world.store().join("copy");
        let copy = copy.to_str().unwrap();
        match (kind.as_str(), taken == Taken::WithCopy) {
            ("btrfs", true) => run("btrfs", &["-q", "subvolume", "snapshot", store, copy]),
            (_, true) => {
                fs::create_dir(copy).unwrap();
                for part in fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()) {
                    if part.file_name().unwrap() != "copy" {
                        run("cp", &["-r", "--reflink=always", part.to_str().unwrap(), copy]);
                    }
                }
            }
            _ => {}
        }
        run("sync", &["-f", store]);
        fill_disk(world);
        let ballast = fs::metadata(world.store().join("ballast")).unwrap().len();
        assert_eq!(ballast < 24 << 20, taken == Taken::ByQuota, "{ballast} bytes were free");
        for number in 0..200 {
            // Small files take what is left.
            let _ = fs::write(world.store().join(format!("ballast-{number}")), [1; 3000]);
        }
        run("sync", &["-f", store]);
        for number in 0..20 {
            attempt(CLIENT, SENDER, USER).expect_accepted();
            // Who is answered at all: 451 where there is room in what the store has, or 250.
            let reply = attempt(CLIENT, &format!("new-{number}@sender.test"), USER);
            assert!([250, 451].contains(&reply.code), "{reply:?}");
        }
        for entry in fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.file_name().unwrap().to_str().unwrap().starts_with("ballast") {
                fs::remove_file(entry).unwrap();
            }
        }
        run("sync", &["-f", store]);
        let again = || attempt(CLIENT, "later@sender.test", USER).code == 451;
        wait_until(again, || "greylisting to go on".to_owned());
        attempt(CLIENT, "later@sender.test", USER).expect_accepted();
    });
}

#[test]
fn full_btrfs_passes() {
    full_loop_disk_passes("btrfs", &["mkfs.btrfs", "-q"], Taken::ByFiles);
}

#[test]
fn full_btrfs_with_a_snapshot_passes() {
    full_loop_disk_passes("btrfs", &["mkfs.btrfs", "-q"], Taken::WithCopy);
}

/// The disk has room, and Exim's user may not have it.
#[test]
fn quota_that_is_used_up_passes() {
    full_loop_disk_passes("btrfs", &["mkfs.btrfs", "-q"], Taken::ByQuota);
}

#[test]
fn full_xfs_with_a_reflink_copy_passes() {
    full_loop_disk_passes("xfs", &["mkfs.xfs", "-q"], Taken::WithCopy);
}

#[test]
fn full_ext4_passes() {
    full_loop_disk_passes("ext4", &["mkfs.ext4", "-q"], Taken::ByFiles);
}

/// Two wrong bytes in the root page of what is known crash every process that reads it. A few connections are lost, then
/// mail passes, the log says what to do, and that helps.
#[test]
fn damage_that_crashes_everybody_is_left_alone_and_mended() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        for number in 0..40 {
            for _ in 0..2 {
                attempt(CLIENT, &format!("sender-{number}@sender.test"), USER);
            }
        }
        world.wait_for_log("reason=retried", 40);
        // The command carries what is queued to what is known.
        let mut status = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        let status = status.arg("--config").arg(world.path("eximgrey.toml")).arg("status").output().unwrap();
        assert!(String::from_utf8_lossy(&status.stdout).contains("40 triplets"), "{status:?}");
        let data = world.store().join("known/data.mdb");
        let mut bytes = fs::read(&data).unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        // mdb.c, MDB_meta: the number of the commit, and the root of the table.
        let newest = [0, 4096].into_iter().max_by_key(|head| word(head + 144)).unwrap();
        let root = word(newest + 128) * 4096;
        // A root that leads nowhere fails an assertion of LMDB (mdb_page_search_root).
        bytes[root + 12..root + 14].copy_from_slice(&[16, 0]);
        fs::write(&data, bytes).unwrap();

        let served = || {
            let attempt = || attempt(CLIENT, "sender-0@sender.test", USER).expect_accepted();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_ok()
        };
        let lost = (0..4).filter(|_| !served()).count();
        assert!((1..=3).contains(&lost), "{lost} connections were lost");
        for _ in 0..20 {
            attempt(CLIENT, "sender-0@sender.test", USER).expect_accepted();
            attempt(CLIENT, "new@sender.test", USER).expect_accepted();
        }
        world.wait_for_log("eximgrey: action=pass reason=error error=store-damaged", 40);
        let advice = world.log_lines("doctor --repair");
        assert_eq!(advice.len(), 1, "once an hour: {advice:?}");

        let mut repair = Command::new(env!("CARGO_BIN_EXE_eximgrey"));
        repair.arg("--config").arg(world.path("eximgrey.toml")).args(["doctor", "--repair"]);
        let repaired = repair.output().unwrap();
        let said = String::from_utf8_lossy(&repaired.stdout);
        assert!(repaired.status.success(), "{said}{}", String::from_utf8_lossy(&repaired.stderr));
        attempt(CLIENT, "sender-0@sender.test", USER).expect_accepted();
        attempt(CLIENT, "newer@sender.test", USER).expect_greylisted();
        let errors = world.log_lines("reason=error").len();
        attempt(CLIENT, "newer@sender.test", USER).expect_accepted();
        assert_eq!(world.log_lines("reason=error").len(), errors);
    });
}

/// A process that was stopped in the middle of a write holds the locks: mail does not wait for it.
#[test]
fn lock_held_by_a_stopped_writer_passes() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        let _writer = StoppedWriter::start(world);
        // A retry and a first attempt: what writes to the one part of the store, and to the other.
        for sender in [SENDER, "bob@sender.test"] {
            attempt(CLIENT, sender, USER).expect_accepted();
        }
        world.wait_for_log("eximgrey: action=pass reason=error error=store-lock", 2);
    });
}

/// Mail that is known already asks for no lock, so a stopped writer does not even show.
#[test]
fn known_mail_does_not_meet_a_stopped_writer() {
    in_own_world(|world| {
        let _exim = world.start_exim("");
        attempt(CLIENT, SENDER, USER).expect_greylisted();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        let _writer = StoppedWriter::start(world);
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("<= alice@sender.test", 2);
        assert_eq!(world.log_lines("reason=error").len(), 0);
    });
}

/// Names the store whose locks this process is to take before it stops; see `StoppedWriter`.
const STOP_IN: &str = "EXIMGREY_TEST_STOP_IN";

/// A process that has begun to write to every part of the store, and then was stopped.
struct StoppedWriter(std::process::Child);

impl StoppedWriter {
    /// Runs this test program once more, with `stopped_writer` as its only test.
    fn start(world: &World) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::stopped_writer"])
            .env(STOP_IN, world.store())
            .stdout(Stdio::null())
            .spawn()
            .expect("run the test program again");
        let status = format!("/proc/{}/status", child.id());
        let writer = Self(child);
        let stopped = || fs::read_to_string(&status).is_ok_and(|text| text.contains("\nState:\tT"));
        wait_until(stopped, || "the writer to stop".to_owned());
        writer
    }
}

impl Drop for StoppedWriter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// No test by itself: the process of `StoppedWriter`.
#[test]
fn stopped_writer() {
    let Some(store) = std::env::var_os(STOP_IN) else {
        return;
    };
    let settings = StoreSettings { path: store.into(), ..StoreSettings::default() };
    let store = Store::open(&settings, Access::Record, Timestamp::now()).unwrap().unwrap();
    let [known, pending] = [Table::Known, Table::Pending].map(|table| store.environment(table).unwrap());
    let write = |env: &Env, change: &mut dyn FnMut()| {
        env.write(Patience::UpTo(Seconds(10)), |_| {
            change();
            Ok(())
        })
        .unwrap();
    };
    write(known, &mut || {
        write(pending, &mut || {
            // SAFETY: raise() takes no pointer.
            unsafe { libc::raise(libc::SIGSTOP) };
        });
    });
}
