//! Starts a contestant: its own daemon if it has one, and an Exim of its own.

use crate::Result;
use crate::contestants::{Recipe, Site};
use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const EXIM: &str = "/usr/sbin/exim4";
pub const EXIM_USER: &str = "Debian-exim";

/// No daemon here takes longer to start.
const START: Duration = Duration::from_secs(20);

/// Starts the contestant's Exim on `port` of 127.0.0.1, with these environment variables.
///
/// Nothing here limits a client but what the contestant adds; no DNS, no TLS. The rest is as Exim has it by default.
pub fn start<'a>(
    site: &Site,
    recipe: &Recipe,
    port: u16,
    environment: impl IntoIterator<Item = (&'a str, &'a OsStr)>,
) -> Result<()> {
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
         begin acl\n\
         check_rcpt:\n\
         {}\n\
         \x20 accept\n",
        recipe.main, recipe.acl
    );
    fs::write(&conf, text)?;
    let mut exim = Command::new(EXIM);
    exim.arg("-C").arg(&conf).arg("-bdf").envs(environment);
    let child = spawn(&mut exim, &site.dir.join("exim.errors"))?;
    wait_for(child, || TcpStream::connect(("127.0.0.1", port)).is_ok())
        .map_err(|error| format!("{error}: {}", trouble(&site.dir)).into())
}

/// Starts a peer's daemon and waits until it serves `socket`, which is then opened to Exim.
pub fn start_peer(command: &mut Command, socket: &Path) -> Result<()> {
    let child = spawn(command, &socket.with_extension("errors"))?;
    wait_for(child, || UnixStream::connect(socket).is_ok())?;
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

/// What Exim wrote about its troubles.
pub fn trouble(dir: &Path) -> String {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    format!("{}{}", read("exim.errors"), read("log/panic"))
}

fn spawn(command: &mut Command, errors: &Path) -> Result<Child> {
    let errors = fs::File::create(errors)?;
    let output = errors.try_clone()?;
    command.current_dir("/").stdin(Stdio::null()).stdout(output).stderr(errors);
    Ok(command.spawn().map_err(|error| format!("{command:?}: {error}; see scripts/setup-peers"))?)
}

fn wait_for(mut child: Child, serves: impl Fn() -> bool) -> Result<()> {
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
