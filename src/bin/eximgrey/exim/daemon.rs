//! The Exim of this machine, asked through its own options. Shared with `eximgrey doctor`.

use super::bad_recipients;
use super::debian::Layout;
use super::session::Session;
use super::source::Source;
use nix::unistd::User;
use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where distributions put Exim.
const BINARIES: [&str; 4] =
    ["/usr/sbin/exim4", "/usr/sbin/exim", "/usr/exim/bin/exim", "/usr/local/sbin/exim"];

/// How many recipients a test session has. Exim's default configuration begins to count them at eleven.
const RECIPIENTS: usize = 15;

/// The Exim that was found.
#[derive(Clone)]
pub struct Exim {
    pub binary: PathBuf,
    /// The configuration it is asked about; `None` for its own.
    pub config: Option<PathBuf>,
    /// Whom it runs as.
    pub user: Option<String>,
    /// Whether it can load libraries.
    pub dlfunc: bool,
    /// The first line of `-bV`.
    pub version: String,
    /// The files that its configuration is made from, on Debian.
    pub(super) made_from: Option<Vec<PathBuf>>,
}

/// Which of Exim's ACLs greylist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) rcpt: bool,
    /// For bounces, which are greylisted after DATA.
    pub(super) data: bool,
}

impl Exim {
    /// The Exim in the usual places, or `named`.
    ///
    /// # Errors
    /// What the administrator should know: there is none, or it does not even tell its version.
    pub fn find(named: Option<PathBuf>, config: Option<PathBuf>) -> Result<Self, String> {
        let usual = || BINARIES.iter().map(PathBuf::from).find(|path| path.exists());
        let binary = named
            .or_else(usual)
            .ok_or("no Exim in the usual places; to doctor it can be named with --exim FILE")?;
        let mut exim =
            Self { binary, config, user: None, dlfunc: false, version: String::new(), made_from: None };
        let about = exim
            .ask(&["-bV"])
            .map_err(|error| format!("{} -bV fails: {}", exim.binary.display(), one_line(&error)))?;
        exim.dlfunc = about.contains("Expand_dlfunc");
        exim.version = about.lines().next().unwrap_or_default().to_owned();
        exim.user = exim.option("exim_user");
        let layout = exim.configure_file().and_then(|file| Layout::of(&file));
        exim.made_from = layout.map(Layout::sources);
        Ok(exim)
    }

    /// The same Exim with another configuration.
    pub(super) fn on(&self, config: &Path) -> Self {
        Self { config: Some(config.into()), ..self.clone() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        if let Some(config) = &self.config {
            command.arg("-C").arg(config);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// What Exim prints when called with `arguments`.
    ///
    /// # Errors
    /// What it says on its standard error, or why it could not be run.
    pub fn ask(&self, arguments: &[&str]) -> Result<String, String> {
        printed(&mut self.command(arguments))
    }

    /// What Exim makes of `text` as the user that it is while it receives mail; with its own configuration
    /// only, for with another that user has no business (it says so in the panic log).
    pub(super) fn expand_as_its_user(&self, text: &str) -> Result<String, String> {
        let (uid, gid) = self.ids().ok_or("the user that Exim runs as is not known")?;
        let answer = expand(self.command(&["-be"]).uid(uid).gid(gid).current_dir("/"), text)?;
        answer.strip_prefix("Failed: ").map_or(Ok(answer.clone()), |why| Err(why.to_owned()))
    }

    /// What Exim makes of `text` as whoever we are, with its own configuration.
    pub fn expand_as_we_are(&self, text: &str) -> Result<String, String> {
        let own = Self { config: None, ..self.clone() };
        let answer = expand(own.command(&["-be"]).current_dir("/"), text)?;
        answer.strip_prefix("Failed: ").map_or(Ok(answer.clone()), |why| Err(why.to_owned()))
    }

    /// What Exim makes of `text`, as root.
    pub(super) fn expand(&self, text: &str) -> Option<String> {
        expand(&mut self.command(&["-be"]), text).ok().filter(|answer| !answer.starts_with("Failed: "))
    }

    /// The configuration that Exim reads.
    pub(super) fn configure_file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| self.option("configure_file").map(PathBuf::from))
    }

    /// The user and the group that Exim runs as.
    pub(super) fn ids(&self) -> Option<(u32, u32)> {
        let user = User::from_name(self.user.as_deref()?).ok()??;
        Some((user.uid.as_raw(), user.gid.as_raw()))
    }

    /// The value of a main option; `None` where it is not set.
    pub fn option(&self, name: &str) -> Option<String> {
        let answer = self.ask(&["-n", "-bP", name]).ok()?;
        Some(answer.lines().next()?.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The value of a macro; `None` where it is not defined. Exim replaces macros in what `-be` is given;
    /// within `\N` it expands nothing else.
    pub fn macro_value(&self, name: &str) -> Option<String> {
        let answer = self.expand(&format!("=\\N{name}\\N"))?;
        answer.strip_prefix('=').filter(|value| *value != name).map(str::to_owned)
    }

    /// The configuration with its macros and included files, as Exim reads it; that is told to root only.
    pub(super) fn whole_configuration(&self) -> Result<String, String> {
        self.ask(&["-bP", "config"])
    }

    /// The statements of `whole`, this Exim's whole configuration, where they are written.
    pub(super) fn source(&self, whole: &str) -> Source {
        Source::of(whole, self.made_from.as_deref())
    }

    /// Which ACLs of `whole`, this Exim's whole configuration, greylist.
    pub(super) fn calls(&self, whole: &str) -> Calls {
        let greylists = |option: &str| {
            let value = self.option(option).unwrap_or_default();
            let ours = |line: &&str| line.contains("acl_m_eximgrey") || line.contains("{greylist}");
            acl_lines(whole, &value).iter().any(ours)
        };
        Calls { rcpt: greylists("acl_smtp_rcpt"), data: greylists("acl_smtp_data") }
    }

    /// Conditions in `whole`, this Exim's whole configuration, by which greylisted recipients are refused for
    /// good.
    pub fn refusals_of_deferred(&self, whole: &str) -> Vec<String> {
        // After DATA, no recipient has been deferred.
        if self.macro_value("EXIMGREY_AT_DATA").is_some() {
            return Vec::new();
        }
        let value = self.option("acl_smtp_rcpt").unwrap_or_default();
        bad_recipients::conditions(&acl_lines(whole, &value))
    }

    /// What one recipient, named `RECIPIENTS` times, gets for answers in a session that is not for real, from
    /// a client that is none of ours. `None` where there is no answer, or not in time.
    pub(super) fn answers_to_recipients(&self, recipient: &str) -> Option<Vec<String>> {
        let mut session = Session::begin(self)?;
        session.say(&format!("MAIL FROM:<root@{}>", self.option("primary_hostname")?))?;
        let answers = (0..RECIPIENTS).map_while(|_| session.say(&format!("RCPT TO:<{recipient}>")));
        Some(answers.map(|answer| answer.reply).collect()).filter(|answers: &Vec<_>| !answers.is_empty())
    }

    /// The process of the running daemon.
    pub(super) fn daemon(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.option("pid_file_path")?).ok()?.trim().parse().ok()?;
        let running = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        // An upgrade of Exim leaves " (deleted)" behind the name.
        let own = self.binary.canonicalize().ok()?;
        running.to_str()?.starts_with(own.to_str()?).then_some(pid)
    }
}

/// How many times a whole configuration sets a main option.
pub fn times_set(whole: &str, option: &str) -> usize {
    let main = whole.lines().take_while(|line| !line.starts_with("begin "));
    main.filter(|line| line.split('=').next().is_some_and(|name| name.trim() == option)).count()
}

/// The lines of the ACLs in a whole configuration that `option` leads to: it names one, or expands to the
/// name of one.
fn acl_lines<'a>(whole: &'a str, option: &str) -> Vec<&'a str> {
    let named = |label: &str| {
        option.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == label)
    };
    let mut inside = false;
    let of_these = |line: &&str| {
        let begins = is_label(line);
        if begins || line.starts_with("begin ") {
            inside = begins && named(line.trim().trim_end_matches(':'));
        }
        inside && !begins
    };
    whole.lines().filter(of_these).collect()
}

/// Whether an ACL begins in this line.
pub(super) fn is_label(line: &str) -> bool {
    let name = line.trim().strip_suffix(':').unwrap_or_default();
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What `exim -be` makes of `text`, which it reads from its standard input: an argument may have 256 bytes.
fn expand(exim: &mut Command, text: &str) -> Result<String, String> {
    let mut child = exim
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // If Exim does not read it, it says why.
    let _ = child.stdin.take().map(|mut pipe| pipe.write_all(format!("{text}\n").as_bytes()));
    let printed = said(child.wait_with_output())?;
    // Each line is asked for with "> ", the one after the last too.
    let answer = printed.trim().trim_start_matches("> ").trim_end_matches('>');
    Ok(answer.trim().to_owned())
}

/// Runs a command to its end; yields what it prints, or what it complains about.
pub(super) fn printed(command: &mut Command) -> Result<String, String> {
    said(command.output())
}

fn said(output: io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let complaint = text(&output.stderr);
    Err(if complaint.trim().is_empty() { output.status.to_string() } else { complaint.trim().to_owned() })
}

/// A complaint of several lines as one.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
