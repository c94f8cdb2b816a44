//! The shipped fragments of an Exim configuration: where they are, and the lines that read them.

use std::path::{Path, PathBuf};

const DROP_IN: &str = include_str!("../../../../exim-conf/debian/conf.d/main/00_eximgrey");

const NO_PRELOAD: &str =
    "# smtp_accept_max_per_host is set elsewhere, and may be set only once.\nEXIMGREY_NO_PRELOAD = yes\n";

/// The line of the drop-in that reads all fragments, as Debian's configuration needs them.
const INCLUDE: &str = ".include_if_exists EXIMGREY_DIR/debian.conf";

/// All fragments that have macros in them.
const TEXTS: [&str; 4] = [
    include_str!("../../../../exim-conf/main.conf"),
    include_str!("../../../../exim-conf/rcpt.conf"),
    include_str!("../../../../exim-conf/data.conf"),
    include_str!("../../../../exim-conf/debian.conf"),
];

/// A macro of the administrator's in `whole`, a whole configuration, of which the name is part of one of ours:
/// Exim would replace it there. Yields what to say about it.
pub fn clash(whole: &str) -> Option<String> {
    let main = whole.lines().take_while(|line| !line.starts_with("begin "));
    let names = main.filter_map(|line| {
        let name = line.split_once('=')?.0.trim();
        let macro_name = name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.starts_with("EXIMGREY_");
        macro_name.then_some(name)
    });
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = || {
        TEXTS.iter().flat_map(|text| text.split(|c| !is_name(c))).filter(|word| word.starts_with("EXIMGREY_"))
    };
    { names }.find_map(|name| {
        let of_ours = ours().find(|of_ours| of_ours.contains(name))?;
        Some(format!(
            "your macro {name} is part of the name {of_ours}, and Exim would replace it there: rename it"
        ))
    })
}

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

/// At the top of the file that is all ours: as it is shipped, so that the package knows it when it is purged.
pub(super) fn heading() -> String {
    DROP_IN.split_inclusive('\n').take_while(|line| line.starts_with('#')).collect()
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

    /// The lines for Debian's main section, without the heading.
    pub(super) fn drop_in(&self) -> String {
        let usual = Self::of_prefix(Path::new(USUAL_PREFIX)).directory();
        let lines = DROP_IN.split_inclusive('\n').skip_while(|line| line.starts_with('#'));
        let text = lines.collect::<String>();
        let text = text.replace(&usual.display().to_string(), &self.directory().display().to_string());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Only names that are part of ours are in the way; Exim itself refuses those that begin later.
    #[test]
    fn macros_that_would_be_replaced_in_ours_are_named() {
        let said = |main: &str| clash(&format!("{main}\nbegin acl\n  SPF = no\n"));
        for sound in ["", "MINE = 1", "EXIMGREY_SPF = no", "spf = 1", "EXIMGREY_SPF_X = 1"] {
            assert_eq!(said(sound), None, "{sound}");
        }
        for (text, ours) in [("SPF = no", "EXIMGREY_SPF"), ("Q_Q = 1\nVERIFIED = x", "EXIMGREY_VERIFIED")] {
            assert!(said(text).unwrap().contains(ours), "{text}");
        }
    }
}
