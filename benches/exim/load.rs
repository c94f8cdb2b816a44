//! The clients: SMTP connections from many addresses, one question at a time, and how long each answer took.

use crate::Result;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Exim's own time-outs towards a peer are 5 seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Time for Exim's last processes to end after they have closed the connection, so that they are counted.
const SETTLE: Duration = Duration::from_millis(20);

/// Recipients that are sent without waiting for the answers in between (RFC 2920). With one at a time, client and server would
/// wait for each other, and most of what is measured would be how long a processor takes to wake up.
const PIPELINED: usize = 50;

/// One connection: who connects, and for whom it has mail.
pub struct Connection {
    client: Ipv4Addr,
    sender: String,
    recipients: Vec<String>,
    /// Sent when its only recipient is accepted.
    message: Option<String>,
}

impl Connection {
    /// The nth client: an address in a /24 of its own, and a sender of its own.
    pub fn new(n: u32, recipients: u32) -> Self {
        let [.., second, third] = (256 + n).to_be_bytes();
        Self {
            client: Ipv4Addr::new(127, second, third, 10),
            sender: format!("alice@sender{n}.example"),
            recipients: (0..recipients).map(|i| format!("bob{i}@example.org")).collect(),
            message: None,
        }
    }

    /// The nth client with one recipient and a message, whose text is its own and always the same.
    pub fn with_message(n: u32) -> Self {
        let connection = Self::new(n, 1);
        let sender = &connection.sender;
        let message = format!(
            "From: <{sender}>\r\nTo: <bob0@example.org>\r\nSubject: A message\r\n\
             Date: Thu, 01 Jan 2026 12:00:00 +0000\r\nMessage-ID: <{sender}>\r\n\r\n\
             This is the message of {sender}.\r\n.\r\n"
        );
        Self { message: Some(message), ..connection }
    }

    /// A connection to `port`; yields the time of each recipient's answer, and how many were not `expected`. With a message,
    /// the answer is that to the message, unless the recipient has been refused.
    fn run(&self, port: u16, expected: u16) -> Result<(Vec<Duration>, usize)> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.client, 0)).into())?;
        socket.set_tcp_nodelay(true)?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut smtp = Smtp { reader: BufReader::new(stream), line: String::new() };
        smtp.expect(220)?;
        smtp.say("EHLO client.example", 250)?;
        smtp.say(&format!("MAIL FROM:<{}>", self.sender), 250)?;
        let mut times = Vec::with_capacity(self.recipients.len());
        let mut wrong = 0;
        for recipients in self.recipients.chunks(PIPELINED) {
            let lines: String = recipients.iter().map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
            let start = Instant::now();
            smtp.send(&lines)?;
            for _ in recipients {
                let mut code = smtp.code()?;
                if let Some(message) = &self.message
                    && code == 250
                {
                    smtp.say("DATA", 354)?;
                    smtp.send(message)?;
                    code = smtp.code()?;
                }
                wrong += usize::from(code != expected);
            }
            let each = start.elapsed() / u32::try_from(recipients.len())?;
            times.extend(std::iter::repeat_n(each, recipients.len()));
        }
        // Exim keeps its last answer until the client closes, for up to 200 ms.
        smtp.send("QUIT\r\n")?;
        smtp.reader.get_ref().shutdown(Shutdown::Write)?;
        smtp.expect(221)?;
        smtp.reader.read_to_end(&mut Vec::new())?;
        Ok((times, wrong))
    }
}

struct Smtp {
    reader: BufReader<TcpStream>,
    line: String,
}

impl Smtp {
    fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    /// The code of the next answer, of however many lines.
    fn code(&mut self) -> Result<u16> {
        loop {
            self.line.clear();
            self.reader.read_line(&mut self.line)?;
            let code = self.line.get(..3).and_then(|code| code.parse().ok());
            let code = code.ok_or_else(|| format!("not an SMTP answer: {:?}", self.line))?;
            if self.line.as_bytes().get(3) != Some(&b'-') {
                return Ok(code);
            }
        }
    }

    fn expect(&mut self, expected: u16) -> Result<()> {
        let code = self.code()?;
        if code == expected { Ok(()) } else { Err(format!("expected {expected}, got {}", self.line).into()) }
    }

    fn say(&mut self, command: &str, expected: u16) -> Result<()> {
        self.send(&format!("{command}\r\n"))?;
        self.expect(expected)
    }
}

/// What came of a number of connections.
#[derive(Default)]
pub struct Outcome {
    pub connections: usize,
    pub elapsed: Duration,
    /// CPU time of whoever was asked: [`crate::daemon::Running::run`].
    pub cpu: Duration,
    /// Of each recipient, in no order.
    pub times: Vec<Duration>,
    /// Answers that were not the expected code.
    pub wrong: usize,
}

/// Makes the connections, `at_a_time`, until all are made or the time is up.
pub fn run(
    connections: &[Connection],
    at_a_time: usize,
    port: u16,
    expected: u16,
    limit: Duration,
) -> Result<Outcome> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let client = || -> Result<Outcome> {
        let mut outcome = Outcome::default();
        while start.elapsed() < limit
            && let Some(connection) = connections.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let (times, wrong) = connection.run(port, expected)?;
            outcome.connections += 1;
            outcome.times.extend(times);
            outcome.wrong += wrong;
        }
        Ok(outcome)
    };
    let mut all = Outcome::default();
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..at_a_time).map(|_| scope.spawn(client)).collect();
        for client in clients {
            let outcome = client.join().map_err(|_| "a client panicked")??;
            all.connections += outcome.connections;
            all.times.extend(outcome.times);
            all.wrong += outcome.wrong;
        }
        Ok(())
    })?;
    all.elapsed = start.elapsed();
    std::thread::sleep(SETTLE);
    Ok(all)
}

impl Outcome {
    /// Connections a second.
    pub fn rate(&self) -> f64 {
        self.connections as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time of a connection, in microseconds.
    pub fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.connections as f64
    }

    /// A quantile of the recipients' times, in microseconds.
    pub fn time(&self, quantile: f64) -> f64 {
        quantile_of(self.times.iter().map(|time| time.as_secs_f64() * 1e6).collect(), quantile)
    }
}

/// The smallest value that is not below this share of them.
pub fn quantile_of(mut values: Vec<f64>, quantile: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * quantile).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
