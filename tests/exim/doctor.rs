//! `eximgrey doctor` beside a real daemon: it finds what the daemon finds, not what root sees.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::debian::Layout;
use crate::enable::installed::{Done, Installed, done};
use crate::smtp::attempt;
use crate::world::{World, copy_tree, in_own_world, mount_bind, mount_tmpfs};

const CLIENT: &str = "198.51.100.7";
const USER: &str = "user@example.org";

/// Debian's configuration with greylisting, and a library that is not preloaded: each connection loads it.
fn enabled(world: &World) -> Installed<'_> {
    let installed = Installed::on_debian(world, Layout::Split, "EXIMGREY_NO_PRELOAD = yes\n");
    installed.eximgrey(&["enable"]).expect(0, "\nenabled\n");
    installed
}

fn doctor(installed: &Installed<'_>) -> Done {
    done(Command::new(installed.command()).arg("doctor"))
}

/// What is not as it should be.
fn complaints(said: &Done) -> Vec<&str> {
    said.out
        .lines()
        .filter(|line| !line.starts_with("ok ") && !line.starts_with("warning  preload "))
        .collect()
}

#[track_caller]
fn expect_well(said: &Done) {
    assert_eq!((said.code, complaints(said)), (Some(0), vec![]), "{said}");
    let answer = said
        .out
        .lines()
        .find(|line| line.starts_with("ok       answer "))
        .unwrap_or_else(|| panic!("{said}"));
    assert!(answer.contains(" as Debian-exim"), "{answer}");
}

/// Where the daemon sees another file system than root, it is the daemon's that counts.
#[test]
fn the_doctor_looks_through_the_eyes_of_the_daemon() {
    in_own_world(|world| {
        let installed = enabled(world);
        expect_well(&doctor(&installed));
        let [store, library] = ["store", "usr/lib/exim4"].map(|name| world.path(name).display().to_string());
        {
            let exim = world.start_exim_apart("true");
            attempt(CLIENT, "alice@sender.test", USER).expect_greylisted();
            let said = doctor(&installed);
            expect_well(&said);
            assert!(said.out.contains(&format!("with the eyes of process {} ", exim.pid())), "{said}");
        }
        let mut mended = 0;
        for (mounts, what, text) in [
            (
                format!("mount --bind {store} {store}; mount -o remount,bind,ro {store}"),
                "store",
                "may only read ",
            ),
            (format!("mount -t tmpfs -o mode=750 tmpfs {store}"), "store", "belongs to root"),
            (format!("mount -t tmpfs tmpfs {library}"), "library", "does not see "),
        ] {
            let exim = world.start_exim_apart(&mounts);
            let said = doctor(&installed);
            assert_eq!(said.code, Some(1), "{mounts}: {said}");
            let begin = format!("BROKEN   {what:<14} ");
            let first = complaints(&said)[0];
            assert!(first.starts_with(&begin) && first.contains(text), "{said}");
            let there = format!("nsenter -t {} ", exim.pid());
            if let Some((_, command)) = first.split_once(&format!(": {there}")) {
                done(Command::new("sh").args(["-c", &format!("{there}{command}")])).expect(0, "");
                expect_well(&doctor(&installed));
                mended += 1;
            }
            drop(exim);
        }
        assert_eq!(mended, 1, "what only the daemon sees is mended there");
        expect_well(&doctor(&installed));
    });
}

/// What Exim may read by a further group counts, from when on the daemon has that group: since it was started.
#[test]
fn the_doctor_has_the_groups_of_the_daemon() {
    in_own_world(|world| {
        let installed = enabled(world);
        let (config, group) = (world.path("eximgrey.toml"), 64_000);
        std::os::unix::fs::chown(&config, None, Some(group)).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
        let before = world.start_installed_exim();
        let groups = fs::read_to_string("/etc/group").unwrap() + "reads:x:64000:Debian-exim\n";
        fs::write(world.path("group"), groups).unwrap();
        mount_bind(&world.path("group"), Path::new("/etc/group"));
        doctor(&installed).expect(1, " may not read it: chmod a+r ");
        drop(before);
        let _exim = world.start_installed_exim();
        expect_well(&doctor(&installed));
        attempt(CLIENT, "alice@sender.test", USER).expect_greylisted();
    });
}

/// What went wrong while mail came in stands in Exim's log; the doctor says it with its cause and the remedy.
#[test]
fn the_doctor_reads_the_log() {
    in_own_world(|world| {
        let installed = enabled(world);
        let config = world.path("eximgrey.toml");
        let mode = |mode| fs::set_permissions(&config, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        {
            let _exim = world.start_installed_exim();
            attempt(CLIENT, "alice@sender.test", USER).expect_accepted();
            world.wait_for_log("error=bad-config", 1);
        }
        let said = doctor(&installed);
        let remedy = format!("may not read it: chmod a+r {}\n", config.display());
        assert!(said.code == Some(1) && said.out.contains(&remedy), "{said}");
        assert!(said.out.contains(" the last 24 hours: 1 x error=bad-config"), "{said}");
        assert!(said.out.contains("eximgrey.toml: cannot be read: Permission denied"), "{said}");
        mode(0o644);
        let said = doctor(&installed);
        assert_eq!(said.code, Some(0), "{said}");
        assert!(complaints(&said).iter().all(|line| line.starts_with("warning  log ")), "{said}");
    });
}

/// What the doctor advises about Exim, pasted: greylisting is switched on, and a daemon with an old library has the
/// new one.
#[test]
fn what_the_doctor_advises_about_exim_works() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        let paste = |check: &str| {
            let said = doctor(&installed);
            let line = complaints(&said).into_iter().find(|line| line.contains(&format!(" {check} ")));
            let line = line.unwrap_or_else(|| panic!("no {check}: {said}"));
            let command = line.rsplit(": ").next().unwrap();
            let path = format!("{}:{}", world.path("usr/bin").display(), std::env::var("PATH").unwrap());
            done(Command::new("sh").args(["-c", command]).env("PATH", path)).expect(0, "")
        };
        paste("fragment").expect(0, "\nenabled\n");
        expect_well(&doctor(&installed));
        let exim = world.start_installed_exim();
        attempt(CLIENT, "alice@sender.test", USER).expect_greylisted();
        let library = world.path("usr/lib/exim4/eximgrey.so");
        fs::copy(&library, world.path("new.so")).unwrap();
        fs::rename(world.path("new.so"), &library).unwrap();
        // Exim itself reads the fragments as its user.
        fs::set_permissions(world.path("usr/share/eximgrey"), fs::Permissions::from_mode(0o700)).unwrap();
        paste("exim");
        paste("daemon");
        world.wait_for_log("listening for SMTP", 2);
        attempt(CLIENT, "bob@sender.test", USER).expect_greylisted();
        expect_well(&doctor(&installed));
        drop(exim);
    });
}

/// Root's umask may be 077: what the command makes can be read by Exim's user all the same.
#[test]
fn what_is_made_under_any_umask_can_be_read() {
    in_own_world(|world| {
        let installed = enabled(world);
        installed.eximgrey(&["disable"]).expect(0, "\ndisabled\n");
        // The usual places, in copies of them.
        mount_tmpfs(Path::new("/var/lib"), "mode=0755");
        fs::create_dir("/var/lib/exim4").unwrap();
        mount_bind(&world.path("generated"), Path::new("/var/lib/exim4"));
        world.create_directory_of_exim(Path::new("/var/lib/eximgrey"));
        fs::create_dir(world.path("whole-etc")).unwrap();
        copy_tree(Path::new("/etc"), &world.path("whole-etc"));
        mount_bind(&world.path("whole-etc"), Path::new("/etc"));
        let _ = fs::remove_dir_all("/etc/eximgrey");
        let macros = installed.own_lines();
        let macros: String = macros.lines().filter(|line| !line.starts_with("EXIMGREY_OPTIONS")).collect();
        fs::write(
            format!("/etc/exim4/{}", Layout::Split.macros_file()),
            macros + "\nEXIMGREY_NO_PRELOAD = yes\n",
        )
        .unwrap();
        crate::debian::update_exim4_conf();
        let with_umask = |line: &str| {
            let script = format!("umask 077; {} {line}", installed.command().display());
            done(Command::new("sh").args(["-c", &script]))
        };
        with_umask("exim enable --observe").expect(0, "\nenabled\n");
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!([mode("/etc/eximgrey"), mode("/etc/eximgrey/eximgrey.toml")], [0o755, 0o644]);
        // The store, made by root's command, is Exim's.
        world.configure("");
        let store = world.store();
        with_umask(&format!(
            "whitelist add client 192.0.2.1 --config {}",
            world.path("eximgrey.toml").display()
        ))
        .expect(0, "");
        assert_eq!(
            ["known", "known/data.mdb", "known/lock.mdb"]
                .map(|name| mode(store.join(name).to_str().unwrap())),
            [0o750, 0o640, 0o640]
        );
    });
}
