//! `eximgrey exim`: what it puts into Exim's configuration greylists, what does not work is undone, and what is the
//! administrator's stays his.

pub mod installed;
mod layouts;
mod moving;
mod others;
mod own;
mod trouble;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian::{Layout, answer_debconf, update_exim4_conf};
use crate::smtp::{Client, attempt};
use crate::world::{ETC, EXIM, GENERATED_FILE, World, in_own_world, mount_bind};
use installed::{Done, Installed, done};

const CLIENT: &str = "198.51.100.7";
const SENDER: &str = "alice@sender.test";
const USER: &str = "user@example.org";
const BACKUPS: &str = "/var/backups";

#[track_caller]
fn expect_greylisting(sender: &str) {
    attempt(CLIENT, sender, USER).expect_greylisted();
    attempt(CLIENT, sender, USER).expect_accepted();
}

/// A script in the place of a program, for this test only.
fn replace_program(world: &World, program: &str, script: &str) {
    let name = Path::new(program).file_name().unwrap().to_str().unwrap();
    let file = world.path(&format!("fake-{name}"));
    fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    mount_bind(&file, Path::new(program));
}

/// On Debian one command switches greylisting on, and one switches it off without a trace. Each says so the second time.
#[test]
fn enable_and_disable_on_debian() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "# the end has no newline");
            enable_and_disable(&installed);
            // A new file leaves no backup; each change of a file does.
            assert_eq!(installed.backups().len(), if matches!(layout, Layout::Split) { 1 } else { 2 });
        });
    }
}

/// Exim's user may be one that only a directory server knows: Exim is run as that user. (There it does not
/// see the directory of this test, because it is a set-uid program that root does not run any more.)
#[test]
fn a_user_that_only_a_directory_server_knows_is_found() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        installed.eximgrey(&["enable"]).expect(0, "enabled\n");
        let users = fs::read_to_string("/etc/passwd").unwrap();
        let (exim, others): (Vec<_>, Vec<_>) =
            users.split_inclusive('\n').partition(|line| line.starts_with("Debian-exim:"));
        let [name, _, uid, gid] = exim[0].splitn(5, ':').collect::<Vec<_>>()[..4] else { unreachable!() };
        let (directory, passwd) = (world.path("directory.so"), world.path("passwd"));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/directory.c");
        let named = [format!("-DNAME=\"{name}\""), format!("-DUID={uid}"), format!("-DGID={gid}")];
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", source, "-o"]).arg(&directory).args(named);
        assert!(compile.status().unwrap().success());
        fs::write(&passwd, others.concat()).unwrap();
        mount_bind(&passwd, Path::new("/etc/passwd"));
        done(installed.command_exim(&["status"]).env("LD_PRELOAD", &directory))
            .expect(1, "Exim cannot ask the library: exim: failed to find uid");
    });
}

/// Where there are no local macros yet, their file comes and goes.
#[test]
fn enable_and_disable_without_local_macros() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Unsplit, "");
        fs::remove_file(format!("{ETC}/exim4.conf.localmacros")).unwrap();
        // The test's macros, where there is greylisting.
        let template = format!("{ETC}/exim4.conf.template");
        let own = installed.own_lines().replacen('=', "==", 1);
        let (options, pid_file) = own.split_once('\n').unwrap();
        let own = format!(".ifdef EXIMGREY_DIR\n{options}\n.endif\n{pid_file}");
        fs::write(&template, own + &fs::read_to_string(&template).unwrap()).unwrap();
        update_exim4_conf();
        enable_and_disable(&installed);
    });
}

/// A symbolic link stays one, and what it leads to keeps its mode.
#[test]
fn a_symbolic_link_is_followed() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Unsplit, "");
        let link = format!("{ETC}/exim4.conf.localmacros");
        let target = world.path("macros");
        fs::copy(&link, &target).unwrap();
        fs::remove_file(&link).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        enable_and_disable(&installed);
        assert_eq!(fs::read_link(&link).unwrap(), target);
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    });
}

/// A drop-in that was put there by hand is used as it is; it is taken away, and is back when that fails.
#[test]
fn a_linked_drop_in_is_used() {
    in_own_world(|world| {
        let share = world.path("usr/share/eximgrey/exim-conf");
        let library = world.path("usr/lib/exim4/eximgrey.so");
        let macros = format!("EXIMGREY_DIR = {}\nEXIMGREY_SO = {}\n", share.display(), library.display());
        let installed = Installed::on_debian(world, Layout::Split, &macros);
        let drop_in = format!("{ETC}/conf.d/main/00_eximgrey");
        let shipped = share.join("debian/conf.d/main/00_eximgrey");
        std::os::unix::fs::symlink(&shipped, &drop_in).unwrap();
        let enabled = installed.eximgrey(&["enable"]).expect(0, "\nenabled\n");
        assert!(!enabled.out.contains("wrote"), "{enabled}");

        let stop = world.path("stop");
        fs::write(&stop, "").unwrap();
        fs::copy("/usr/sbin/update-exim4.conf", world.path("generator")).unwrap();
        let script = format!(
            "[ $# -gt 0 ] || [ ! -e {} ] || exit 3\nsh {} \"$@\"\n",
            stop.display(),
            world.path("generator").display()
        );
        replace_program(world, "/usr/sbin/update-exim4.conf", &script);
        installed.eximgrey(&["disable"]).expect(1, "exit status: 3\nundone: ");
        assert_eq!(fs::read_link(&drop_in).unwrap(), shipped);
        installed.eximgrey(&["status"]).expect(0, "enabled       yes");
        fs::remove_file(stop).unwrap();
        installed.eximgrey(&["disable"]).expect(0, "\ndisabled\n");
        assert!(fs::read_link(&drop_in).is_err() && shipped.exists());
    });
}

#[track_caller]
fn enable_and_disable(installed: &Installed<'_>) {
    let world = installed.world;
    let stock = installed.files();
    installed.eximgrey(&["status"]).expect(1, "enabled       no\n");
    installed.eximgrey(&["disable"]).expect(0, "already disabled\n");
    installed.expect_unchanged(&stock);

    let enabled = installed.eximgrey(&["enable"]).expect(0, "\nenabled\n");
    assert!(enabled.out.contains("gets \"451 4.7.1 Greylisted"), "{enabled}");
    let files = installed.files();
    installed.eximgrey(&["enable"]).expect(0, "already enabled");
    installed.expect_unchanged(&files);
    let status = installed.eximgrey(&["status"]).expect(0, "enabled       yes\nbounces       yes\n");
    for line in ["dlfunc        yes", "mode          enforce", "library       action=defer reason=new"] {
        assert!(status.out.contains(line), "no {line} in {status}");
    }
    let json = installed.eximgrey(&["status", "--json"]).expect(0, "");
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["enabled"], &json["healthy"], &json["pid"]), (&true.into(), &true.into(), &().into()));
    {
        let _exim = world.start_installed_exim();
        expect_greylisting(SENDER);
        expect_greylisting("");
    }
    installed.eximgrey(&["disable"]).expect(0, "\ndisabled\n");
    installed.expect_unchanged(&stock);
    let _exim = world.start_installed_exim();
    attempt(CLIENT, "bob@sender.test", USER).expect_accepted();
}

/// Killed between its steps, the command leaves a configuration by which mail flows; the next call does the rest.
#[test]
fn killed_half_way_it_leaves_mail_flowing() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "");
            fs::copy("/usr/sbin/update-exim4.conf", world.path("generator")).unwrap();
            let script = format!(
                "[ $# -gt 0 ] || [ -e {0}/go ] || {{ kill -KILL $PPID; exit; }}\nsh {0}/generator \"$@\"\n",
                world.path("").display()
            );
            replace_program(world, "/usr/sbin/update-exim4.conf", &script);
            fs::write(world.path("go"), "").unwrap();
            // A comment names the program that made the file.
            update_exim4_conf();
            let stock = installed.files();
            for action in ["enable", "disable"] {
                fs::remove_file(world.path("go")).unwrap();
                let mut command = Command::new(installed.command());
                let mut child = command.args(["exim", action]).stdout(Stdio::null()).spawn().unwrap();
                let scratch = format!("/run/eximgrey-trial.{}", child.id());
                assert_eq!(child.wait().unwrap().code(), None, "{action} was not killed");
                fs::remove_dir_all(scratch).unwrap();
                {
                    let _exim = world.start_installed_exim();
                    let first = attempt(CLIENT, &format!("{action}@sender.test"), USER);
                    // Not yet enabled, not yet disabled.
                    assert_eq!(first.code, if action == "enable" { 250 } else { 451 });
                }
                fs::write(world.path("go"), "").unwrap();
                installed.eximgrey(&[action]).expect(0, &format!("\n{action}d\n"));
                let _exim = world.start_installed_exim();
                let first = attempt(CLIENT, &format!("{action}d@sender.test"), USER);
                assert_eq!(first.code, if action == "enable" { 451 } else { 250 });
            }
            installed.expect_unchanged(&stock);
        });
    }
}

/// A running Exim is reloaded, by Debian's own means.
#[test]
fn enable_reloads_a_running_exim() {
    in_own_world(|world| {
        let macros = "EXIMGREY_PRELOAD = 0\n";
        let installed = Installed::on_debian(world, Layout::Split, macros);
        let exim = world.start_installed_exim();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        replace_program(world, "/usr/sbin/invoke-rc.d", "echo denied >&2\nexit 101\n");
        installed.eximgrey(&["enable"]).expect(0, "NOT reloaded: denied");
        installed
            .eximgrey(&["status"])
            .expect(0, "daemon        running; it loads the library with the first");
        attempt(CLIENT, SENDER, USER).expect_accepted();
        installed.eximgrey(&["disable"]).expect(0, "disabled");

        let script = format!("[ \"$*\" = '--disclose-deny exim4 reload' ] && kill -HUP {}\n", exim.pid());
        replace_program(world, "/usr/sbin/invoke-rc.d", &script);
        installed.eximgrey(&["enable"]).expect(0, "reloaded: Exim, process");
        world.wait_for_log("listening for SMTP", 2);
        expect_greylisting(SENDER);
        installed.eximgrey(&["status"]).expect(0, "daemon        running, library loaded\n");
        let library = world.path("usr/lib/exim4/eximgrey.so");
        fs::copy(&library, world.path("new.so")).unwrap();
        fs::rename(world.path("new.so"), &library).unwrap();
        installed.eximgrey(&["status"]).expect(1, "daemon        old library, to be reloaded\n");

        exim.reload();
        expect_greylisting("carol@sender.test");
        installed.eximgrey(&["status"]).expect(0, "daemon        running, library loaded\n");
        let doctor = || done(Command::new(installed.command()).arg("doctor"));
        let warning = "warning  daemon         process ";
        assert!(!doctor().out.contains(warning), "{}", doctor());
        // In place, as cp does it.
        fs::write(&library, fs::read(&library).unwrap()).unwrap();
        installed.eximgrey(&["status"]).expect(1, "daemon        old library, to be reloaded\n");
        assert!(doctor().out.contains(warning), "{}", doctor());
    });
}

/// A mistake by which Exim would answer 451 to everybody is found before anything is put in place.
#[test]
fn what_would_break_mail_is_refused() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let choice = world.path("choice");
            fs::write(&choice, "  warn\n    set acl_m_eximgrey_skip = ${nonsense}\n").unwrap();
            fs::set_permissions(&choice, fs::Permissions::from_mode(0o644)).unwrap();
            let installed = Installed::on_debian(world, layout, "");
            for (macros, why) in [
                ("EXIMGREY_OPTIONS == {config=/nowhere\n".to_owned(), "cannot ask the library"),
                ("EXIMGREY_OPTIONS == {config=/nowhere}\n".to_owned(), "error=bad-config"),
                ("EXIMGREY_SO = /nowhere.so\n".to_owned(), "there is no library /nowhere.so"),
                ("EXIMGREY_DIR = /nowhere\n".to_owned(), "is /nowhere there?"),
                ("VERIFIED = no\n".to_owned(), "your macro VERIFIED is part of the name EXIMGREY_VERIFIED"),
                ("EXIMGREY_PRELOAD = much\n".to_owned(), "no number"),
                (
                    "EXIMGREY_PRELOAD = 0\nsmtp_accept_max_per_host = 5\n".to_owned(),
                    "smtp_accept_max_per_host",
                ),
                (
                    format!("EXIMGREY_CHOICE = {}\n", choice.display()),
                    "would be answered \"451 Temporary local",
                ),
            ] {
                installed.set_macros(&macros);
                update_exim4_conf();
                installed.expect_refused(&["enable"], why);
            }
        });
    }
}

/// A limit of the administrator's own stays as it is: an option may be set only once, so the library is not preloaded.
#[test]
fn limit_of_the_administrator_stays() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "smtp_accept_max_per_host = 7\n");
            let before = installed.files();
            installed.eximgrey(&["enable"]).expect(0, "not preloaded: smtp_accept_max_per_host = 7 is yours");
            let limit = Command::new(EXIM).args(["-n", "-bP", "smtp_accept_max_per_host"]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&limit.stdout), "7\n");
            let exim = world.start_installed_exim();
            expect_greylisting(SENDER);
            drop(exim);
            installed.eximgrey(&["enable"]).expect(0, "already enabled");
            installed.eximgrey(&["disable"]).expect(0, "disabled");
            installed.expect_unchanged(&before);
        });
    }
}

/// What is put in place is what was tried, or it is taken back.
#[test]
fn a_configuration_that_was_not_tried_is_undone() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "# mine\n");
            fs::copy("/usr/sbin/update-exim4.conf", world.path("generator")).unwrap();
            let script = format!(
                "sh {} \"$@\" && {{ [ $# -gt 0 ] || sed -i 's/^begin acl/recipients_max = 7\\n&/' {GENERATED_FILE}; }}\n",
                world.path("generator").display()
            );
            replace_program(world, "/usr/sbin/update-exim4.conf", &script);
            installed.expect_refused(&["enable", "--observe"], "is not what was tried\nundone: ");
            let script = format!("[ $# -gt 0 ] || exit 3\nsh {} \"$@\"\n", world.path("generator").display());
            replace_program(world, "/usr/sbin/update-exim4.conf", &script);
            installed.expect_refused(&["enable"], "update-exim4.conf: exit status: 3\nundone: ");
        });
    }
}

/// An administrator who uses Debian's hook is told what to add to his file; with that, greylisting works.
#[test]
fn a_hook_of_the_administrator_is_kept() {
    in_own_world(|world| {
        let own = world.path("own_rcpt_acl");
        fs::write(&own, "  deny\n    senders = spam@sender.test\n    message = not from you\n").unwrap();
        let macros = format!("CHECK_RCPT_LOCAL_ACL_FILE = {}\n", own.display());
        let installed = Installed::on_debian(world, Layout::Split, &macros);
        installed.expect_refused(&["enable"], &format!("Add to {}:", own.display()));
        let shown = installed.eximgrey(&["enable"]).out;
        let added: String = shown
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .fold(fs::read_to_string(&own).unwrap(), |text, line| text + line + "\n");
        fs::write(&own, added).unwrap();
        installed.eximgrey(&["enable"]).expect(0, "\nenabled\n");
        {
            let _exim = world.start_installed_exim();
            attempt(CLIENT, "spam@sender.test", USER).expect(550);
            expect_greylisting(SENDER);
        }
        installed.eximgrey(&["disable"]).expect(0, "\ndisabled\n");
        let _exim = world.start_installed_exim();
        attempt(CLIENT, "spam@sender.test", USER).expect(550);
        attempt(CLIENT, "bob@sender.test", USER).expect_accepted();
    });
}

/// `enable --observe` defers nothing, and says in the log what would have been; `--enforce` leads back. The rest of the
/// file stays.
#[test]
fn observe_defers_nothing_until_the_mode_is_changed() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Unsplit, "");
        let toml = world.path("eximgrey.toml");
        fs::set_permissions(&toml, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::chown(&toml, Some(0), Some(world.exim_user.1)).unwrap();
        let before = fs::read_to_string(&toml).unwrap();

        // A call that does not heed the file would defer.
        let options = format!("EXIMGREY_OPTIONS == {{config={}}}{{mode=enforce}}\n", toml.display());
        installed.set_macros(&options);
        update_exim4_conf();
        installed.expect_refused(&["enable", "--observe"], "EXIMGREY_OPTIONS names another mode");

        installed.set_macros("");
        let to_enforce = format!("To defer: eximgrey exim enable --enforce --config {}\n", toml.display());
        let enabled = installed.eximgrey(&["enable", "--observe"]).expect(0, "\nenabled\n");
        assert!(enabled.out.ends_with(&to_enforce), "{enabled}");
        assert_eq!(fs::read_to_string(&toml).unwrap(), format!("mode = \"observe\"\n{before}"));
        assert_eq!(fs::metadata(&toml).unwrap().permissions().mode() & 0o777, 0o640);
        installed.eximgrey(&["status"]).expect(0, "mode          observe\n");
        // Without an option the mode is nobody's business, and is said.
        let again = installed.eximgrey(&["enable"]).expect(0, "already enabled");
        assert!(again.out.ends_with(&format!(
            "mode: observe: nothing is deferred; the log says would=defer. {to_enforce}"
        )));
        assert!(fs::read_to_string(&toml).unwrap().contains("observe"));

        let _exim = world.start_installed_exim();
        attempt(CLIENT, SENDER, USER).expect_accepted();
        world.wait_for_log("would=defer", 1);
        // No reload is needed.
        let enforced = installed.eximgrey(&["enable", "--enforce"]).expect(0, "wrote: ");
        assert!(enforced.out.ends_with("\nmode: enforce: mail of new senders is deferred\n"), "{enforced}");
        assert_eq!(fs::read_to_string(&toml).unwrap(), format!("mode = \"enforce\"\n{before}"));
        expect_greylisting("bob@sender.test");
        installed.set_macros(&options.replace("enforce", "observe"));
        update_exim4_conf();
        installed
            .eximgrey(&["enable", "--enforce"])
            .expect(1, "so its mode is not enforce: EXIMGREY_OPTIONS names another mode or file");
        let both = installed.eximgrey(&["enable", "--enforce", "--observe"]);
        assert!(both.code == Some(2) && both.err.contains("cannot be used with"), "{both}");
    });
}

/// An Exim that cannot load libraries is left alone.
#[test]
fn exim_without_dlfunc_is_left_alone() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        fs::copy(EXIM, world.path("heavy")).unwrap();
        // The same, but for what it says of itself; without privileges it can be asked all the same.
        let script = format!("{} \"$@\" | sed 's/ Expand_dlfunc//'\n", world.path("heavy").display());
        replace_program(world, EXIM, &script);
        installed.expect_refused(&["enable"], "exim4-daemon-heavy");
        installed.eximgrey(&["status"]).expect(1, "dlfunc        no\n");
    });
}

/// Who is not root is told so, and so is who has made a mistake in eximgrey.toml or has no Exim.
#[test]
fn trouble_is_exit_status_2() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        let before = installed.files();
        for action in ["enable", "disable", "status"] {
            let refused =
                done(Command::new(installed.command()).args(["exim", action]).uid(65_534).gid(65_534));
            assert!(refused.code == Some(2) && !refused.err.is_empty(), "{action}: {refused}");
        }
        installed.expect_unchanged(&before);
        world.configure("delay = 7");
        let refused = installed.eximgrey(&["enable"]);
        assert!(refused.code == Some(2) && refused.err.contains("eximgrey.toml:2: delay"), "{refused}");
        world.configure("delay = \"0s\"");
        installed.expect_unchanged(&before);
        replace_program(world, EXIM, "echo out of order >&2\nexit 1\n");
        let refused = installed.eximgrey(&["enable"]);
        assert!(refused.code == Some(2) && refused.err.contains("out of order"), "{refused}");
    });
}
