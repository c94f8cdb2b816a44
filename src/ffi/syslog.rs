//! A line for the system's log, where Exim's own cannot be used.
//!
//! Not by `syslog(3)`: that would wait while the log's queue is full, keep a descriptor, and use the name
//! that Exim may have given it. A datagram that cannot be sent at once is dropped.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Where the C library and every syslog daemon have it.
const SOCKET: &str = "/dev/log";

/// Facility "mail" (2), priority "warning" (4), by RFC 3164.
const PRIORITY: u8 = 2 << 3 | 4;

pub(super) fn send(line: &str) {
    send_to(Path::new(SOCKET), line);
}

fn send_to(path: &Path, line: &str) {
    let message = format!("<{PRIORITY}>exim[{}]: {line}", std::process::id());
    if let Ok(socket) =
        UnixDatagram::unbound().and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
    {
        // Nobody is there, or too busy: there is nobody to tell.
        let _ = socket.send_to(message.as_bytes(), path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line arrives with its priority; where nobody reads, or nobody is there, nobody waits.
    #[test]
    fn a_line_is_sent_or_dropped_but_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        send_to(&path, "nobody is there");
        let log = UnixDatagram::bind(&path).unwrap();
        // More than any queue takes (net.unix.max_dgram_qlen is 10 to 512).
        for _ in 0..2_000 {
            send_to(&path, "eximgrey: a line");
        }
        let mut bytes = [0; 100];
        let length = log.recv(&mut bytes).unwrap();
        let expected = format!("<20>exim[{}]: eximgrey: a line", std::process::id());
        assert_eq!(String::from_utf8_lossy(&bytes[..length]), expected);
    }
}
