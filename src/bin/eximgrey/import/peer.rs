//! What a line of a peer may say, and how its parts are read. Everything in it may be a stranger's.

use eximgrey::identity::ClientNetwork;
use eximgrey::pasted;
use eximgrey::time::Timestamp;
use ipnetwork::IpNetwork;
use std::net::IpAddr;

/// Who wrote to whom, from where.
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    pub client: IpNetwork,
    /// As the peer keeps it.
    pub sender: Vec<u8>,
    /// The peer wrote `#` for numbers in it.
    pub masked: bool,
    pub recipient: Vec<u8>,
}

/// Until when a pass counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// For our lifetime after it was last seen.
    Seen(Timestamp),
    /// The peer only says when its own lifetime is over.
    Until(Timestamp),
}

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// This mail has passed.
    Passed { mail: Mail, first: Timestamp, last: Last },
    /// This client has passed so often.
    Client { client: IpNetwork, passes: u32, first: Timestamp, last: Last },
    /// A first attempt.
    Waits { mail: Mail, first: Timestamp },
}

/// What a line says, if anything; else what was expected.
pub type Read = Result<Option<Said>, String>;

/// A reader of a peer's files. It keeps what it has to between lines, and is otherwise pure.
pub trait Peer {
    /// Another file begins.
    fn begin(&mut self) {}

    /// The next line.
    fn line(&mut self, line: &[u8]) -> Read;

    /// What cannot be used, now that all is read: how many, and why.
    fn end(&self) -> Option<(u64, &'static str)> {
        None
    }
}

/// The longest address that is taken: far above what SMTP allows.
const LONGEST: usize = 512;

/// A client's address or network.
pub fn client(text: &[u8]) -> Result<IpNetwork, String> {
    let read = || {
        let text = str::from_utf8(text).ok()?;
        let network: IpNetwork = text.parse().ok()?;
        let canonical = network.ip().to_canonical();
        if canonical != network.ip() {
            return (network.prefix() >= 96)
                .then(|| IpNetwork::new(canonical, network.prefix() - 96).ok())?;
        }
        Some(network).filter(|network| network.prefix() > 0)
    };
    read().ok_or_else(|| "a client's address".into())
}

/// The network around an address.
pub fn around(address: IpAddr, ipv4: u8, ipv6: u8) -> IpNetwork {
    let prefix = if address.is_ipv4() { ipv4 } else { ipv6 };
    // The same as the text of our own.
    ClientNetwork::new(address, prefix).to_string().parse().unwrap_or_else(|_| address.into())
}

/// An envelope sender, perhaps in angle brackets.
pub fn sender(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = bare(text);
    if text.is_empty() || is_address(text) { Ok(text.to_vec()) } else { Err("a sender's address".into()) }
}

/// A recipient, perhaps in angle brackets.
pub fn recipient(text: &[u8]) -> Result<Vec<u8>, String> {
    let text = bare(text);
    let fits = is_address(text) || text.eq_ignore_ascii_case(b"postmaster");
    if fits { Ok(text.to_vec()) } else { Err("a recipient's address".into()) }
}

fn bare(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"<").and_then(|text| text.strip_suffix(b">")).unwrap_or(text)
}

fn is_address(text: &[u8]) -> bool {
    let at = text.iter().rposition(|&byte| byte == b'@');
    let parts = at.is_some_and(|at| at > 0 && at + 1 < text.len());
    parts && text.len() <= LONGEST && !text.contains(&b'\n')
}

/// Seconds since 1970.
pub fn time(text: &[u8]) -> Result<Timestamp, String> {
    let number = number(text).filter(|&seconds| seconds > 0).map(Timestamp);
    number.ok_or_else(|| "a time in seconds since 1970".into())
}

/// A number without a sign.
pub fn number(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// The parts of a line between tabs.
pub fn columns(line: &[u8]) -> Vec<&[u8]> {
    line.split(|&byte| byte == b'\t').collect()
}

/// A client's address as people and logs write it.
pub fn pasted_client(text: &[u8]) -> Result<IpNetwork, String> {
    pasted::client(text).map(IpNetwork::from).ok_or_else(|| "a client's address".into())
}
