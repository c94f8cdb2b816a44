//! docs/moving.md with Debian's greylistd. `make test-moving` installs it and runs this.

use super::*;
use crate::world::wait_until;

struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// greylistd with a delay of nothing, which it makes a second: a retry has to come later than that.
fn start_greylistd(world: &World) -> Daemon {
    let dir = Path::new("/run/greylistd");
    world.create_directory_of_exim(dir);
    let config = world.path("greylistd.conf");
    let text = "[timeouts]\nretryMin = 0\nretryMax = 28800\nexpire = 5184000\n\
                [socket]\npath = /run/greylistd/socket\nmode = 0660\n\
                [data]\nupdate = 600\nstatefile = /run/greylistd/states\ntripletfile = /run/greylistd/triplets\n\
                savetriplets = true\nsinglecheck = false\nsingleupdate = false\n";
    fs::write(&config, text).unwrap();
    let (uid, gid) = world.exim_user;
    let mut daemon = Command::new("/usr/sbin/greylistd");
    let daemon =
        Daemon(daemon.arg(&config).uid(uid).gid(gid).spawn().expect("greylistd: see make test-moving"));
    wait_until(|| dir.join("socket").exists(), || "greylistd's socket".into());
    daemon
}

/// Who has written twice while both were at work does not wait when the change is made; who is new does, once.
#[test]
#[ignore = "needs Debian's greylistd: make test-moving"]
fn greylistd_is_left_as_the_document_says() {
    for layout in [Layout::Split, Layout::Unsplit] {
        in_own_world(move |world| {
            let installed = Installed::on_debian(world, layout, "");
            let _greylistd = start_greylistd(world);
            let setup = |action: &str| {
                let mut setup = Command::new("/usr/sbin/greylistd-setup-exim4");
                // Beside the files of this layout it looks for those of the other.
                let done = setup.args([action, "-no-reload", "-no-fail"]).output().unwrap();
                assert!(done.status.success(), "{done:?}");
                update_exim4_conf();
            };
            setup("add");
            let enabled = installed.eximgrey(&["enable", "--observe"]).expect(0, "\nenabled\n");
            let named = enabled.out.lines().filter(|line| line.starts_with("    /etc/exim4/"));
            assert_eq!(named.count(), 4, "{enabled}");
            assert!(enabled.out.contains("who is new to both waits twice: greylistd\n"), "{enabled}");
            {
                let _exim = world.start_installed_exim();
                attempt(CLIENT, SENDER, USER).expect(451);
                wait_until(
                    || attempt(CLIENT, SENDER, USER).code == 250,
                    || "greylistd to let it pass".into(),
                );
                world.wait_for_log("reason=new wait=0 would=defer", 1);
                // The second mail of this sender.
                attempt(CLIENT, SENDER, USER).expect_accepted();
            }
            setup("remove");
            let enforced = installed.eximgrey(&["enable", "--enforce"]).expect(0, "already enabled");
            assert!(!enforced.out.contains("another greylister"), "{enforced}");
            {
                let _exim = world.start_installed_exim();
                attempt(CLIENT, SENDER, USER).expect_accepted();
                expect_greylisting("new@sender.test");
            }
        });
    }
}
