//! A DNS server for one test: what its table says, and "no such name" for all else.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// The response codes used here (RFC 1035, 4.1.1).
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

#[derive(Default)]
struct Zone {
    records: HashMap<(String, u16), Vec<Vec<u8>>>,
    queries: Vec<String>,
    broken: bool,
    silent: bool,
}

pub struct Dns {
    zone: Arc<Mutex<Zone>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    /// Serves 127.0.0.1:53 of the namespace that the calling thread lives in.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:53").expect("bind the test's DNS port");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (zone, stop) = (zone.clone(), stop.clone());
            move || serve(&socket, &zone, &stop)
        });
        Self { zone, stop, thread: Some(thread) }
    }

    /// A TXT record: of SPF, or of a DKIM key.
    pub fn txt(&self, domain: &str, record: &str) {
        let mut data = vec![u8::try_from(record.len()).expect("a short record")];
        data.extend(record.as_bytes());
        self.add(domain, TXT, data);
    }

    pub fn spf(&self, domain: &str, record: &str) {
        self.txt(domain, record);
    }

    /// An address without a way back, as blocklists have them.
    pub fn address(&self, name: &str, address: Ipv4Addr) {
        self.add(name, A, address.octets().to_vec());
    }

    /// A host with matching forward and reverse entries, as Exim wants it for `$sender_host_name`.
    pub fn host(&self, name: &str, address: &str) {
        let address: IpAddr = address.parse().expect("an address");
        match address {
            IpAddr::V4(v4) => self.add(name, A, v4.octets().to_vec()),
            IpAddr::V6(v6) => self.add(name, AAAA, v6.octets().to_vec()),
        }
        self.pointer(name, &address.to_string());
    }

    /// A reverse entry alone, which anybody can make up for an address of his own.
    pub fn pointer(&self, name: &str, address: &str) {
        let address = address.parse().expect("an address");
        self.add(&reverse_name(address), PTR, encode_name(name));
    }

    /// From now on every question is answered with SERVFAIL.
    pub fn break_down(&self) {
        self.zone.lock().unwrap().broken = true;
    }

    /// From now on no question is answered.
    pub fn fall_silent(&self) {
        self.zone.lock().unwrap().silent = true;
    }

    /// The names asked for so far, as `name/type`, and forgets them.
    pub fn take_queries(&self) -> Vec<String> {
        std::mem::take(&mut self.zone.lock().unwrap().queries)
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) {
        let key = (name.to_ascii_lowercase(), kind);
        let mut zone = self.zone.lock().unwrap();
        zone.records.entry(key).or_default().push(data);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, zone: &Mutex<Zone>, stop: &AtomicBool) {
    let poll = std::time::Duration::from_millis(20);
    socket.set_read_timeout(Some(poll)).expect("set a timeout");
    let mut packet = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, client)) = socket.recv_from(&mut packet)
            && let Some(answer) = answer(&packet[..length], &mut zone.lock().unwrap())
        {
            let _ = socket.send_to(&answer, client);
        }
    }
}

fn answer(query: &[u8], zone: &mut Zone) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while *query.get(at)? != 0 {
        let length = usize::from(query[at]);
        let label = query.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let name = labels.join(".");
    zone.queries.push(format!("{name}/{kind}"));
    if zone.silent {
        return None;
    }

    let empty = Vec::new();
    let records = zone.records.get(&(name.clone(), kind)).unwrap_or(&empty);
    let code = if zone.broken {
        SERVFAIL
    } else if zone.records.keys().any(|(known, _)| *known == name) {
        0
    } else {
        NXDOMAIN
    };
    let records = if zone.broken { &empty } else { records };

    let mut answer = query[..2].to_vec();
    // A response, authoritative, recursion desired and available.
    answer.extend([0x85, 0x80 | code, 0, 1, 0]);
    answer.push(u8::try_from(records.len()).ok()?);
    answer.extend([0, 0, 0, 0]);
    answer.extend(question);
    for data in records {
        answer.extend([0xc0, 12]); // the question's name
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

fn encode_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let mut name = String::new();
            for byte in v6.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name + "ip6.arpa"
        }
    }
}
