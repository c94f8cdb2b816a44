//! The command where it is installed, beside the real Exim of a world of its own.

use super::*;
use crate::debian::files_of_etc;
use crate::world::{SHIPPED, copy_tree, mount_tmpfs};
use std::process::Stdio;

/// An installation in a place of its own, on a machine with Debian's configuration.
pub struct Installed<'w> {
    pub world: &'w World,
    pub layout: Layout,
}

/// What the command did.
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    #[track_caller]
    pub fn expect(self, code: i32, text: &str) -> Self {
        assert!(self.code == Some(code) && self.out.contains(text), "{code} {text:?}: {self}");
        self
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit status {:?}\n{}{}", self.code, self.out, self.err)
    }
}

impl<'w> Installed<'w> {
    /// Debian's configuration as generated, with `macros` of the administrator's and no greylisting.
    pub fn on_debian(world: &'w World, layout: Layout, macros: &str) -> Self {
        let installed = Self { world, layout };
        installed.install();
        fs::write(world.path("aliases"), "user: :blackhole:\nroot: :blackhole:\n").unwrap();
        mount_bind(&world.path("aliases"), Path::new("/etc/aliases"));
        answer_debconf(layout);
        installed.set_macros(macros);
        update_exim4_conf();
        installed
    }

    /// What `make install PREFIX=` does, and directories for backups and the lock that are the test's.
    pub fn install(&self) {
        let prefix = self.world.path("usr");
        for directory in ["bin", "lib/exim4", "share/eximgrey/exim-conf"] {
            fs::create_dir_all(prefix.join(directory)).unwrap();
        }
        fs::copy(env!("CARGO_BIN_EXE_eximgrey"), self.command()).unwrap();
        fs::copy(self.world.library(), prefix.join("lib/exim4/eximgrey.so")).unwrap();
        copy_tree(Path::new(SHIPPED), &prefix.join("share/eximgrey/exim-conf"));
        let readable = Command::new("chmod").args(["-R", "a+rX"]).arg(&prefix).status().unwrap();
        assert!(readable.success());
        mount_tmpfs(Path::new(BACKUPS), "mode=0755");
        // With its lock: other tests run the command at the same time.
        mount_tmpfs(Path::new("/run"), "mode=0755");
    }

    pub fn command(&self) -> PathBuf {
        self.world.path("usr/bin/eximgrey")
    }

    /// The macros that a test needs in any case, as lines of the main section.
    pub fn own_lines(&self) -> String {
        format!(
            "EXIMGREY_OPTIONS = {{config={}}}\npid_file_path = {}\n",
            self.world.path("eximgrey.toml").display(),
            self.world.path("exim.pid").display()
        )
    }

    pub fn set_macros(&self, macros: &str) {
        fs::write(format!("{ETC}/{}", self.layout.macros_file()), self.own_lines() + macros).unwrap();
    }

    pub fn eximgrey(&self, arguments: &[&str]) -> Done {
        done(&mut self.command_exim(arguments))
    }

    pub fn command_exim(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.command());
        command.arg("exim").args(arguments).arg("--config").arg(self.world.path("eximgrey.toml"));
        command
    }

    /// What the command may have changed: Exim's files and eximgrey.toml.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = files_of_etc().into_iter().collect();
        for file in [PathBuf::from(GENERATED_FILE), self.world.path("eximgrey.toml")] {
            let bytes = fs::read(&file).unwrap();
            files.push((file, bytes));
        }
        files
    }

    #[track_caller]
    pub fn expect_unchanged(&self, before: &[(PathBuf, Vec<u8>)]) {
        let now = self.files();
        let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&now), names(before));
        for (now, before) in now.iter().zip(before) {
            assert!(now == before, "{:?} was changed: {}", now.0, String::from_utf8_lossy(&now.1));
        }
    }

    /// Nothing is enabled, for a reason that has `text` in it, and every file is as it was.
    #[track_caller]
    pub fn expect_refused(&self, arguments: &[&str], text: &str) {
        let before = self.files();
        let refused = self.eximgrey(arguments).expect(1, "not enabled: ");
        assert!(refused.out.contains(text), "no {text:?} in {refused}");
        self.expect_unchanged(&before);
        self.eximgrey(&["status"]).expect(1, "enabled       no\n");
    }

    pub fn backups(&self) -> Vec<String> {
        let files = fs::read_dir(format!("{BACKUPS}/eximgrey")).into_iter().flatten();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }
}

pub fn done(command: &mut Command) -> Done {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}
