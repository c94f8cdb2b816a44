//! eximgrey itself: the arguments as Exim's ACL hands them over, through a session, to a store of its own. Only the
//! clock is ours. The settings are the defaults.

use super::{Attempt, Greylister};
use eximgrey::memory::Access;
use eximgrey::reply::{Action, Reason};
use eximgrey::session::Session;
use eximgrey::time::Timestamp;
use tempfile::TempDir;

/// What the ACL shows of a client beside its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `spf=`, where SPF passes.
    Spf,
    /// `host=`.
    Host,
    /// Nothing.
    NetworkOnly,
}

/// A store and a session on it.
pub struct Eximgrey {
    shown: Shown,
    session: Session,
    config: String,
    /// Removed with this.
    _directory: TempDir,
}

impl Eximgrey {
    pub fn new(shown: Shown) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (store, config) = (directory.path().join("store"), directory.path().join("eximgrey.toml"));
        std::fs::create_dir(&store).expect("a directory for the store");
        std::fs::write(&config, format!("store = {store:?}\n")).expect("a configuration");
        Self {
            shown,
            session: Session::new(),
            config: format!("config={}", config.display()),
            _directory: directory,
        }
    }
}

impl Greylister for Eximgrey {
    fn name(&self) -> &'static str {
        match self.shown {
            Shown::Spf => "eximgrey, SPF",
            Shown::Host => "eximgrey, host name",
            Shown::NetworkOnly => "eximgrey, neither",
        }
    }

    fn passes(&mut self, attempt: &Attempt<'_>, now: Timestamp) -> bool {
        let client = attempt.client.to_string();
        let option = match self.shown {
            Shown::Spf => format!("spf={}", attempt.spf.unwrap_or_default()),
            Shown::Host => format!("host={}", attempt.host),
            Shown::NetworkOnly => String::new(),
        };
        let arguments = [&client, attempt.sender, attempt.recipient, &self.config, &option];
        // Each attempt is a connection of its own.
        self.session = Session::new();
        let reply = self
            .session
            .answer(&arguments.map(str::as_bytes), Access::Record, now)
            .unwrap_or_else(|failure| panic!("{failure}"));
        // Trouble lets mail pass: it must not look like a good result.
        assert_ne!(reply.reason, Reason::Error, "{reply}");
        reply.action == Action::Pass
    }
}
