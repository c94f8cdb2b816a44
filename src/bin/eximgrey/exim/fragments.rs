//! The shipped fragments of an Exim configuration: where they are, and the lines that read them.

use std::path::{Path, PathBuf};

const DROP_IN: &str = include_str!("../../../../exim-conf/debian/conf.d/main/00_eximgrey");

const NO_PRELOAD: &str =
    "# smtp_accept_max_per_host is set elsewhere, and may be set only once.\nEXIMGREY_NO_PRELOAD = yes\n";

/// What the fragments take for granted.
const USUAL_PREFIX: &str = "/usr";

/// The fragments that were installed with this command.
pub(super) struct Fragments {
    prefix: PathBuf,
    /// Not where the administrator has set the option that preloading would set.
    pub(super) preload: bool,
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
        Self { prefix: prefix.into(), preload: true }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.prefix.join("share/eximgrey/exim-conf")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The lines for Debian's main section, without the heading of the shipped file, which says how to install
    /// it.
    pub(super) fn drop_in(&self) -> String {
        let usual = Self::of_prefix(Path::new(USUAL_PREFIX)).directory();
        let lines = DROP_IN.split_inclusive('\n').skip_while(|line| line.starts_with('#'));
        let text = lines.collect::<String>();
        let text = text.replace(&usual.display().to_string(), &self.directory().display().to_string());
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
