//! The shipped fragments of an Exim configuration: where they are, and the lines that read them.

use std::path::{Path, PathBuf};

const DROP_IN: &str = include_str!("../../../../exim-conf/debian/conf.d/main/00_eximgrey");

const NO_PRELOAD: &str =
    "# smtp_accept_max_per_host is set elsewhere, and may be set only once.\nEXIMGREY_NO_PRELOAD = yes\n";

/// The line of the drop-in that reads all fragments, as Debian's configuration needs them.
const INCLUDE: &str = ".include_if_exists EXIMGREY_DIR/debian.conf";

/// What the fragments take for granted.
const USUAL_PREFIX: &str = "/usr";

/// The fragments that were installed with this command.
pub(super) struct Fragments {
    prefix: PathBuf,
    /// Not where the administrator has set the option that preloading would set.
    pub(super) preload: bool,
    /// Macros for ACLs that are not Debian's, in a configuration that Debian generates; `None` for Debian's own.
    pub(super) names: Option<Vec<String>>,
}

impl Fragments {
    /// Those beside this command: `/usr/bin/eximgrey` belongs to `/usr/share/eximgrey/exim-conf`.
    pub(super) fn installed() -> Self {
        let own = std::env::current_exe().ok();
        let prefix = own.as_deref().and_then(Path::parent).and_then(Path::parent);
        let beside = prefix.map(Self::of_prefix).filter(|fragments| fragments.directory().is_dir());
        beside.unwrap_or_else(|| Self::of_prefix(Path::new(USUAL_PREFIX)))
    }

    pub(super) fn of_prefix(prefix: &Path) -> Self {
        Self { prefix: prefix.into(), preload: true, names: None }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.prefix.join("share/eximgrey/exim-conf")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The lines for Debian's main section.
    pub(super) fn drop_in(&self) -> String {
        let usual = Self::of_prefix(Path::new(USUAL_PREFIX)).directory();
        let text = DROP_IN.replace(&usual.display().to_string(), &self.directory().display().to_string());
        let text = match &self.names {
            None => text,
            Some(names) => {
                let preload = if self.preload {
                    ".ifndef EXIMGREY_PRELOAD\nEXIMGREY_PRELOAD = 0\n.endif\n"
                } else {
                    ""
                };
                let guarded = |line: &String| match line.split_once(" = ") {
                    Some((name, _)) => format!(".ifndef {name}\n{line}\n.endif\n"),
                    None => format!("{line}\n"),
                };
                let names = names.iter().map(guarded).collect::<String>();
                text.replace(
                    INCLUDE,
                    &format!("{preload}{names}{}", INCLUDE.replace("debian.conf", "main.conf")),
                )
            }
        };
        let library = self.library().map(|line| format!(".ifndef EXIMGREY_SO\n{line}\n.endif\n"));
        let preload = if self.preload { "" } else { NO_PRELOAD };
        [library.as_deref().unwrap_or_default(), preload, &text].concat()
    }

    /// The line that names the library; `None` where it is in the usual place.
    pub(super) fn library(&self) -> Option<String> {
        let library = self.prefix.join("lib/exim4/eximgrey.so");
        (self.prefix != Path::new(USUAL_PREFIX)).then(|| format!("EXIMGREY_SO = {}", library.display()))
    }
}
