//! A sending server: an SMTP client that connects from the address it is told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::FromRawFd;
use std::time::Duration;

/// Where the Exim under test listens, one address a family.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 25);
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x25, 0, 0, 0, 0, 0x25);

/// No answer of Exim here takes longer, a lock held by a stopped process included.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    pub text: String,
}

impl Reply {
    #[track_caller]
    pub fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "unexpected SMTP answer: {}", self.text);
        self
    }

    /// The answer of a greylisting server, with the enhanced code.
    #[track_caller]
    pub fn expect_greylisted(self) {
        assert!(
            self.code == 451 && self.text.starts_with("4.7.1 Greylisted"),
            "not greylisted: {} {}",
            self.code,
            self.text
        );
    }

    #[track_caller]
    pub fn expect_accepted(self) {
        self.expect(250);
    }
}

pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects from `address` and says EHLO.
    pub fn connect(address: &str) -> Self {
        Self::connect_as(address, "client.test")
    }

    /// Connects from `address` and says EHLO with `name`.
    pub fn connect_as(address: &str, name: &str) -> Self {
        let (mut client, greeting) = Self::greeted(address);
        greeting.expect(220);
        client.command(&format!("EHLO {name}")).expect(250);
        client
    }

    /// Connects from `address`; yields Exim's greeting too.
    pub fn greeted(address: &str) -> (Self, Reply) {
        let mut client = Self::connected(address);
        let greeting = client.reply();
        (client, greeting)
    }

    /// Connects from `proxy`, which says that `client` has connected to it (PROXY protocol, version 1), and says EHLO.
    pub fn connect_through(proxy: &str, client: &str) -> Self {
        let mut connection = Self::connected(proxy);
        connection.send(format!("PROXY TCP4 {client} {SERVER4} 40000 25\r\n").as_bytes());
        connection.reply().expect(220);
        connection.command("EHLO client.test").expect(250);
        connection
    }

    fn connected(address: &str) -> Self {
        let stream = connect_from(address.parse().expect("an address"));
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    pub fn command(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    pub fn mail(&mut self, sender: &str) {
        self.command(&format!("MAIL FROM:<{sender}>")).expect(250);
    }

    pub fn rcpt(&mut self, recipient: &str) -> Reply {
        self.command(&format!("RCPT TO:<{recipient}>"))
    }

    pub fn data(&mut self) -> Reply {
        self.message("From: <a@sender.test>\r\nSubject: test\r\n\r\ntext")
    }

    /// DATA with `text`, the lines of which end in CRLF.
    pub fn message(&mut self, text: &str) -> Reply {
        self.command("DATA").expect(354);
        self.command(&format!("{text}\r\n."))
    }

    pub fn quit(mut self) {
        self.command("QUIT").expect(221);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("send");
    }

    fn reply(&mut self) -> Reply {
        let mut text = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("an SMTP answer");
            assert!(line.len() >= 4, "the connection was closed: {line:?}");
            text.push(line[4..].trim_end().to_owned());
            if line.as_bytes()[3] == b' ' {
                let code = line[..3].parse().expect("an SMTP code");
                let text = text.join("\n");
                return Reply { code, text };
            }
        }
    }
}

/// One delivery attempt: one connection, one message, one recipient. Yields the answer that decided.
pub fn attempt(address: &str, sender: &str, recipient: &str) -> Reply {
    let mut client = Client::connect(address);
    client.mail(sender);
    let mut reply = client.rcpt(recipient);
    if reply.code == 250 {
        reply = client.data();
    }
    client.quit();
    reply
}

/// `TcpStream` cannot choose its source address, so the socket is made by hand.
fn connect_from(address: IpAddr) -> TcpStream {
    let server = match address {
        // 127.0.0.1 and ::1 are hosts that a stock configuration relays for.
        _ if address.is_loopback() => SocketAddr::new(address, 25),
        IpAddr::V4(_) => SocketAddr::new(SERVER4.into(), 25),
        IpAddr::V6(_) => SocketAddr::new(SERVER6.into(), 25),
    };
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: socket() takes no pointers; the descriptor is checked and owned by the TcpStream alone.
    let (stream, fd) = unsafe {
        let fd = libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
        (TcpStream::from_raw_fd(fd), fd)
    };
    for (what, address) in [("bind", SocketAddr::new(address, 0)), ("connect", server)] {
        let (raw, length) = raw_address(address);
        let raw = (&raw const raw).cast();
        // SAFETY: `raw` points to a sockaddr_storage of this frame that holds `length` valid bytes.
        let result = unsafe {
            if what == "bind" { libc::bind(fd, raw, length) } else { libc::connect(fd, raw, length) }
        };
        let error = std::io::Error::last_os_error();
        assert_eq!(result, 0, "{what} {address}: {error}");
    }
    stream
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all-zero bytes are a valid sockaddr_storage (AF_UNSPEC).
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*v4.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every sockaddr.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}
