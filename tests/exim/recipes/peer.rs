//! Another mail server: a second Exim, with a queue of its own, that sends to the one under test or asks it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::smtp::SERVER4;
use crate::world::{EXIM, World, run_with_input, wait_until};

/// The address that the peer's daemon listens on, at port 2525.
pub const PEER: &str = "198.51.100.25";

pub struct Peer<'w> {
    world: &'w World,
    directory: PathBuf,
}

impl<'w> Peer<'w> {
    /// `acl` are statements for its RCPT ACL, `transport` to the options of the transport to the Exim under test.
    ///
    /// The peer takes mail for alice@sender.test, and when it is asked for anybody else, it asks
    /// the Exim under test.
    pub fn new(world: &'w World, acl: &str, transport: &str) -> Self {
        let directory = world.path("peer");
        world.create_directory_of_exim(&directory);
        let peer = Self { world, directory };
        peer.configure(acl, transport);
        peer.move_to("198.51.100.7");
        peer
    }

    /// Changes what was given to `new`; the queue stays.
    pub fn configure(&self, acl: &str, transport: &str) {
        let at = self.directory.display();
        let text = format!(
            "primary_hostname = mx.sender.test\n\
             spool_directory = {at}\n\
             log_file_path = {at}/%slog\n\
             pid_file_path = {at}/pid\n\
             local_interfaces = {PEER}\n\
             daemon_smtp_ports = 2525\n\
             keep_environment =\n\
             tls_advertise_hosts =\n\
             untrusted_set_sender = *\n\
             acl_smtp_rcpt = acl_rcpt\n\
             begin acl\n\
             acl_rcpt:\n\
             {acl}\n\
             accept\n\
             begin routers\n\
             local:\n driver = accept\n domains = sender.test\n local_parts = alice\n transport = drop\n\
             none:\n driver = redirect\n domains = sender.test\n allow_fail\n data = :fail: unknown user\n\
             out:\n driver = manualroute\n route_list = * {SERVER4}\n transport = smtp\n\
             begin transports\n\
             drop:\n driver = appendfile\n file = /dev/null\n user = Debian-exim\n\
             smtp:\n driver = smtp\n hosts_try_fastopen =\n \
             interface = ${{readfile{{{at}/interface}}{{}}}}\n{transport}\n\
             begin retry\n\
             * * F,1d,1m\n"
        );
        fs::write(self.configuration(), text).unwrap();
    }

    /// From now on the peer connects from `address`.
    pub fn move_to(&self, address: &str) {
        fs::write(self.directory.join("interface"), address).unwrap();
    }

    /// Hands a message to the peer, which tries to deliver it once.
    pub fn send(&self, sender: &str, recipient: &str, message: &str) {
        let mut exim = self.exim();
        exim.args(["-odf", "-oi", "-f", sender, recipient]);
        run_with_input(&mut exim, message);
    }

    /// Has the peer try again with all that waits in its queue.
    pub fn retry(&self) {
        let mut exim = self.exim();
        exim.arg("-qff");
        run_with_input(&mut exim, "");
    }

    /// What the peer's Exim says to `session`, callouts included, as if `client` had connected to it.
    pub fn host_check(&self, client: &str, session: &str) -> String {
        let mut exim = self.exim();
        exim.args(["-bhc", client]);
        run_with_input(&mut exim, session)
    }

    /// Starts the peer's daemon.
    pub fn serve(&self) -> PeerDaemon {
        let child = self.exim().arg("-bdf").stdin(Stdio::null()).spawn().expect("start the peer");
        let daemon = PeerDaemon(child);
        wait_until(|| self.log().contains("listening for SMTP"), || format!("the peer:\n{}", self.log()));
        daemon
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("mainlog")).unwrap_or_default()
    }

    fn configuration(&self) -> PathBuf {
        self.world.path("peer.conf")
    }

    fn exim(&self) -> Command {
        let mut exim = Command::new(EXIM);
        exim.arg("-C").arg(self.configuration());
        exim
    }
}

/// The peer's running daemon, which ends with the value.
pub struct PeerDaemon(Child);

impl Drop for PeerDaemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
