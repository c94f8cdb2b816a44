//! Starts a contestant: its own daemon if it has one, and an Exim of its own.

use crate::Result;
use crate::contestants::{Contestant, Recipe, Site};
use crate::group::Group;
use crate::load::{self, Connection, Outcome};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EXIM: &str = "/usr/sbin/exim4";
pub const EXIM_USER: &str = "Debian-exim";

/// No daemon here takes longer to start.
const START: Duration = Duration::from_secs(20);

/// A contestant that serves.
pub struct Running {
    name: &'static str,
    dir: PathBuf,
    port: u16,
    group: Group,
}

impl Running {
    /// Starts the contestant in its site, with Exim on `port` of 127.0.0.1.
    pub fn start(site: &Site, contestant: &Contestant, port: u16) -> Result<Self> {
        let group = Group::of(&site.dir)?;
        let running = Self { name: contestant.name, dir: site.dir.clone(), port, group };
        make_directory(&site.dir, "root")?;
        let started = (contestant.prepare)(site).and_then(|recipe| start_exim(site, &recipe, port));
        started.map_err(|error| running.told(&*error))?;
        Ok(running)
    }

    /// Makes connections to it: see [`load::run`]. The CPU time is that of its Exim and its greylister.
    pub fn run(
        &self,
        connections: &[Connection],
        at_a_time: usize,
        code: u16,
        limit: Duration,
    ) -> Result<Outcome> {
        let before = self.group.cpu()?;
        let outcome = load::run(connections, at_a_time, self.port, code, limit);
        let outcome = outcome.map_err(|error| self.told(&*error))?;
        Ok(Outcome { cpu: self.group.cpu()?.saturating_sub(before), ..outcome })
    }

    /// The same, one connection after the other, where all answers must be right.
    pub fn check(&self, connections: &[Connection], code: u16) -> Result<()> {
        match self.run(connections, 1, code, Duration::MAX)?.wrong {
            0 => Ok(()),
            wrong => Err(self.told(format!("{wrong} answers were not {code}")).into()),
        }
    }

    /// An error, and what the daemons wrote about their troubles.
    fn told(&self, error: impl std::fmt::Display) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        format!("{}: {error}\n{}{}", self.name, read("errors"), read("log/panic"))
    }
}

/// Nothing here limits a client but what the contestant adds; no DNS, no TLS. The rest is as Exim has it by default.
fn start_exim(site: &Site, recipe: &Recipe, port: u16) -> Result<()> {
    let dir = site.dir.display();
    make_directory(&site.dir.join("spool"), EXIM_USER)?;
    make_directory(&site.dir.join("log"), EXIM_USER)?;
    let conf = site.dir.join("exim.conf");
    let text = format!(
        "primary_hostname = mx.example.org\n\
         spool_directory = {dir}/spool\n\
         log_file_path = {dir}/log/%s\n\
         pid_file_path = {dir}/exim.pid\n\
         local_interfaces = 127.0.0.1\n\
         daemon_smtp_ports = {port}\n\
         smtp_accept_max = 500\n\
         smtp_connect_backlog = 500\n\
         host_lookup =\n\
         rfc1413_hosts =\n\
         tls_advertise_hosts =\n\
         keep_environment =\n\
         queue_only\n\
         hostlist relay_from_hosts = 192.0.2.1\n\
         {}\n\
         acl_smtp_rcpt = check_rcpt\n\
         acl_smtp_data = check_data\n\
         begin acl\n\
         check_rcpt:\n\
         {}\n\
         \x20 accept\n\
         check_data:\n\
         {}\n\
         \x20 discard\n",
        recipe.main, recipe.acl, recipe.data
    );
    fs::write(&conf, text)?;
    let mut exim = match &recipe.var_lib {
        None => Command::new(EXIM),
        Some(dir) => {
            let mut view = Command::new("unshare");
            view.args(["--mount", "sh", "-c", "mount --bind \"$0\" /var/lib && exec \"$@\""])
                .arg(dir)
                .arg(EXIM);
            view
        }
    };
    exim.arg("-C").arg(&conf).arg("-bdf");
    start_daemon(site, &mut exim, || TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// Starts a peer's daemon and waits until it serves `socket`, which is then opened to Exim.
pub fn start_peer(site: &Site, command: &mut Command, socket: &Path) -> Result<()> {
    start_daemon(site, command, || UnixStream::connect(socket).is_ok())?;
    Ok(fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?)
}

pub fn make_directory(path: &Path, owner: &str) -> Result<()> {
    run(Command::new("install").args(["-d", "-m", "0755", "-o", owner]).arg(path))
}

pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn start_daemon(site: &Site, command: &mut Command, serves: impl Fn() -> bool) -> Result<()> {
    let errors = fs::File::options().create(true).append(true).open(site.dir.join("errors"))?;
    let mut child = Group::of(&site.dir)?
        .enclose(command)
        .current_dir("/")
        .envs(site.environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(errors.try_clone()?)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("{command:?}: {error}; see scripts/setup-peers"))?;
    let start = Instant::now();
    while !serves() {
        if let Some(status) = child.try_wait()? {
            return Err(format!("the daemon ended, {status}").into());
        }
        if start.elapsed() > START {
            return Err("the daemon does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
