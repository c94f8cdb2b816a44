//! What stands in the way of a change: who is told what, and what is left as it was.

use super::*;
use crate::world::wait_until;

/// Holds the first that has the configuration made, until the test lets it go on or is over.
fn hold_generator(world: &World) {
    fs::copy("/usr/sbin/update-exim4.conf", world.path("generator")).unwrap();
    let dir = world.path("").display().to_string();
    let held = format!(
        "if [ ! -e {dir}/here ]; then : > {dir}/here; while [ -e {dir}/here ] && [ ! -e {dir}/go ]; do sleep 0.02; done; fi"
    );
    let script = format!("{held}\nexec sh {dir}/generator \"$@\"\n");
    replace_program(world, "/usr/sbin/update-exim4.conf", &script);
}

/// While one changes the configuration, another one that would is told who is at work, and does nothing.
#[test]
fn a_second_change_at_the_same_time_is_refused() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        hold_generator(world);
        let first = installed.command_exim(&["enable"]).stdout(Stdio::piped()).spawn().unwrap();
        wait_until(|| world.path("here").exists(), || "the first to be at work".into());
        let before = installed.files();
        for second in [&["enable"][..], &["enable", "--observe"], &["disable"]] {
            let refused = installed.eximgrey(second).expect(2, "");
            let who = format!("another eximgrey exim enable or disable is at work (process {})", first.id());
            assert!(refused.out.is_empty() && refused.err.contains(&who), "{refused}");
        }
        installed.eximgrey(&["status"]).expect(1, "enabled       no\n");
        installed.expect_unchanged(&before);
        fs::write(world.path("go"), "").unwrap();
        let first = first.wait_with_output().unwrap();
        let out = String::from_utf8(first.stdout).unwrap();
        assert!(first.status.success() && out.contains("\nenabled\n"), "{out}");
        installed.eximgrey(&["enable"]).expect(0, "already enabled");
    });
}

fn make_read_only(dir: &Path) {
    let remount = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(dir).status().unwrap();
    assert!(remount.success(), "{dir:?}");
}

/// Where nothing can be written, nothing was, and it is said why; what could be written is taken back.
#[test]
fn read_only_directories_are_named() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "");
            let file = match layout {
                Layout::Split => "conf.d/main/00_eximgrey",
                Layout::Unsplit => "exim4.conf.localmacros",
            };
            let why = format!(
                "{ETC}/{file}: Read-only file system (os error 30)\nExim's configuration was not changed\n"
            );
            make_read_only(Path::new("/var/lib/exim4"));
            installed.expect_refused(&["enable"], "\nundone: all files are as they were\n");
            make_read_only(Path::new(ETC));
            installed.expect_refused(&["enable"], &why);

            let dir = world.path("settings");
            fs::create_dir(&dir).unwrap();
            fs::copy(world.path("eximgrey.toml"), dir.join("eximgrey.toml")).unwrap();
            mount_bind(&dir, &dir);
            make_read_only(&dir);
            let toml = dir.join("eximgrey.toml");
            let mut command = Command::new(installed.command());
            let refused = done(command.args(["exim", "enable", "--observe", "--config"]).arg(&toml));
            let why = format!(
                "not enabled: {}: Read-only file system (os error 30)\nnothing was changed\n",
                toml.display()
            );
            assert!(refused.code == Some(1) && refused.out.ends_with(&why), "{refused}");
        });
    }
}

/// The same for switching off.
#[test]
fn disable_says_that_it_could_not_write() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        installed.eximgrey(&["enable"]).expect(0, "\nenabled\n");
        make_read_only(Path::new(ETC));
        let before = installed.files();
        installed.eximgrey(&["disable"]).expect(1, "(os error 30)\nExim's configuration was not changed\n");
        installed.expect_unchanged(&before);
        installed.eximgrey(&["status"]).expect(0, "enabled       yes\n");
    });
}

/// A configuration that Exim refuses already is called so, with the file that has the fault, in Exim's words.
#[test]
fn a_configuration_that_was_broken_before_is_called_so() {
    for (layout, source) in [
        (Layout::Split, "conf.d/main/90_exim4-config_log_selector"),
        (Layout::Unsplit, "exim4.conf.template"),
    ] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "");
            let file = format!("{ETC}/{source}");
            let sound = fs::read_to_string(&file).unwrap();
            fs::write(&file, format!("nonsense = 3\n{sound}")).unwrap();
            for (action, what) in [("enable", "as it stands"), ("disable", "without greylisting")] {
                let before = installed.files();
                let refused = installed.eximgrey(&[action]);
                let text = format!(
                    "error in line 1 of {file}:\n  main option \"nonsense\" unknown\nExim's configuration was not"
                );
                assert!(refused.code == Some(1) && refused.out.contains(&text), "{refused}");
                assert!(refused.out.contains(&format!("Exim refuses the configuration {what}")), "{refused}");
                assert!(!refused.out.contains("eximgrey-trial"), "{refused}");
                installed.expect_unchanged(&before);
            }
            fs::write(&file, sound.replacen("\n", "\n.ifdef NO_END\n", 1)).unwrap();
            let refused =
                installed.eximgrey(&["enable"]).expect(1, "Exim refuses the configuration as it stands");
            assert!(!refused.out.contains("eximgrey-trial"), "{refused}");
            let own = format!("{ETC}/exim4.conf");
            fs::write(&own, "primary_hostname = mx.example.org\nnonsense = 3\n").unwrap();
            for action in ["enable", "disable", "status"] {
                let refused = installed.eximgrey(&[action]);
                let found = refused.err.contains(&format!("error in line 2 of {own}: main option"));
                assert!(refused.code == Some(2) && found, "{refused}");
            }
        });
    }
}

/// A macro that is set below the drop-in, which has given it a default, is named, and where it belongs.
#[test]
fn a_macro_that_is_set_too_late_is_named() {
    for (layout, source, right) in [
        (Layout::Split, "conf.d/main/00_local", "conf.d/main/000_localmacros"),
        (Layout::Unsplit, "exim4.conf.template", "exim4.conf.localmacros"),
    ] {
        for line in ["EXIMGREY_MESSAGE = Come back later", "CHECK_RCPT_POSTMASTER=boss"] {
            in_own_world(move |world| {
                let installed = Installed::on_debian(world, layout, "");
                let (file, right) = (format!("{ETC}/{source}"), format!("{ETC}/{right}"));
                let before = fs::read_to_string(&file).unwrap_or_default();
                fs::write(&file, format!("# mine\n{line}\n{before}")).unwrap();
                update_exim4_conf();
                let name = line.split([' ', '=']).next().unwrap();
                let refused = installed
                    .eximgrey(&["enable"])
                    .expect(1, "not enabled: Exim refuses the new configuration");
                assert!(
                    refused.out.contains(&format!("{file}:2 sets {name}, and is read after")),
                    "{refused}"
                );
                assert!(
                    refused.out.contains(&format!("Move that line into {right}, which is read before")),
                    "{refused}"
                );

                fs::write(&file, before).unwrap();
                let above = fs::read_to_string(&right).unwrap();
                fs::write(&right, format!("{above}{line}\n")).unwrap();
                installed.eximgrey(&["enable"]).expect(0, "\nenabled\n");
            });
        }
    }
}

/// Who lacks the right is told what to do, whatever the command.
#[test]
fn without_root_it_says_how_to_become_root() {
    in_own_world(|world| {
        let installed = Installed::on_debian(world, Layout::Split, "");
        let toml = world.path("eximgrey.toml");
        let as_nobody = |arguments: &str| {
            let mut command = Command::new(installed.command());
            command.args(arguments.split(' ')).arg("--config").arg(&toml).uid(65_534).gid(65_534);
            done(&mut command)
        };
        let of_exim = ["exim enable", "exim disable", "exim status"];
        let of_store = [
            "status",
            "list",
            "explain 192.0.2.1 a@b.example c@d.example",
            "release a@b.example c@d.example",
            "trap 192.0.2.1",
            "forget 192.0.2.1",
            "whitelist list",
            "whitelist add client 192.0.2.1",
            "whitelist remove client 192.0.2.1",
            "purge",
        ];
        let of_file = ["check-config", "normalize a@b.example"];
        let refuses = |command: &str| {
            let refused = as_nobody(command);
            let told = refused.err.ends_with("become root, or put sudo before the command\n");
            let code = if command == "check-config" { 1 } else { 2 };
            assert!(refused.code == Some(code) && refused.out.is_empty() && told, "{command}: {refused}");
        };
        of_exim.iter().chain(&of_store).for_each(|command| refuses(command));
        fs::set_permissions(&toml, fs::Permissions::from_mode(0o600)).unwrap();
        of_store.iter().chain(&of_file).for_each(|command| refuses(command));
    });
}
