//! A session that is not for real (`exim -bh`): Exim's own answers, and which statement of which file gave
//! each of them. Nothing is recorded.

use super::daemon::Exim;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// The client: a network for documentation, whose hosts nobody relays for (RFC 5737).
pub(super) const TEST_CLIENT: &str = "192.0.2.1";

/// The address it has connected to, and the port: configurations may choose an ACL by it.
const TEST_SERVER: &str = "192.0.2.2.25";

/// A session may ask the DNS for the name of its client, and more. Where the DNS does not answer, it is given
/// up.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct Session {
    child: Child,
    input: ChildStdin,
    /// What Exim prints, line by line.
    lines: Receiver<String>,
    deadline: Instant,
}

/// What a command is answered.
pub(super) struct Answer {
    /// The last line of the reply: code and text.
    pub(super) reply: String,
    /// What Exim says of the ACLs it has run for that.
    trace: Vec<String>,
}

impl Session {
    /// A session that has said EHLO; `None` where Exim does not get that far.
    pub(super) fn begin(exim: &Exim) -> Option<Self> {
        let (reader, writer) = io::pipe().ok()?;
        let mut command = exim.command(&["-oMi", TEST_SERVER, "-bh", TEST_CLIENT]);
        command.stdin(Stdio::piped()).stdout(writer.try_clone().ok()?).stderr(writer);
        let mut child = command.spawn().ok()?;
        // With it go this process's own ends of the pipe.
        drop(command);
        let input = child.stdin.take()?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        let mut session = Self { child, input, lines, deadline: Instant::now() + DEADLINE };
        session.answer()?;
        session.say("EHLO client.invalid")?;
        Some(session)
    }

    /// The answer to a command; `None` where there is none, or not in time.
    pub(super) fn say(&mut self, command: &str) -> Option<Answer> {
        self.input.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        self.answer()
    }

    fn answer(&mut self) -> Option<Answer> {
        let mut trace = Vec::new();
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).ok()?;
            // Exim prints what it does before it answers; the lines before the last of a reply have a "-".
            let code = line.get(..3).is_some_and(|code| code.bytes().all(|b| b.is_ascii_digit()));
            if code && matches!(line.get(3..4), None | Some(" ")) {
                return Some(Answer { reply: line, trace });
            }
            trace.push(line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing is lost with it: it is not for real.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub(super) fn accepts(&self) -> bool {
        self.reply.starts_with('2')
    }

    /// Whether a statement of ours was reached.
    pub(super) fn reached(&self) -> bool {
        self.trace.iter().any(|line| line.contains("acl_m_eximgrey") || line.contains("{greylist}"))
    }

    /// Whether the library was asked, or will be after DATA; or what it would have been asked about is left
    /// out by the administrator's own choice, EXIMGREY_CHOICE or EXIMGREY_ACCEPTED.
    pub(super) fn greylists(&self) -> bool {
        let lines = || self.trace.iter().map(|line| line.trim_start_matches(['>', ' ']));
        let begun = lines().skip_while(|line| *line != "check set acl_m_eximgrey_ask = no");
        let checks = begun.take_while(|line| !line.starts_with("warn: condition test failed"));
        let other_domain = checks.filter(|line| line.starts_with("check ")).last();
        other_domain.is_some_and(|line| line.starts_with("check domains = "))
            || lines().any(|line| {
                line.starts_with("= action=")
                    || line.contains("eximgrey: action=")
                    || line.starts_with("check set acl_m_eximgrey = action=")
                    || line.starts_with("check set acl_m_eximgrey_later = ${if def:")
                    || line.starts_with("check set acl_m_eximgrey_skip = yes")
            })
    }

    /// File and line of the statement that has decided: the last one that was looked at, not within another
    /// ACL that it calls. Exim before 4.93 does not tell.
    pub(super) fn statement(&self) -> Option<(PathBuf, usize)> {
        statement(&self.trace)
    }
}

/// From 4.99 on, the name of the ACL comes before the verb.
fn statement(trace: &[String]) -> Option<(PathBuf, usize)> {
    let last = trace.iter().rev().find_map(|line| line.strip_prefix(">>> processing "));
    let (_, place) = last?.strip_suffix(')')?.rsplit_once(" (")?;
    let (file, number) = place.rsplit_once(' ')?;
    Some((Path::new(file).into(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The statement is found in what each Exim says.
    #[test]
    fn the_statement_is_found_in_the_trace_of_each_exim() {
        for (line, expected) in [
            (">>> processing \"accept\"", None),
            (">>> processing \"accept\" (/etc/exim4/a b.conf 12)", Some(("/etc/exim4/a b.conf", 12))),
            (">>> processing ACL acl_rcpt \"accept\" (/f 12)", Some(("/f", 12))),
            // Within another ACL.
            (">>>  processing \"deny\" (/g 3)", None),
        ] {
            let trace = [line, ">>>  processing \"deny\" (/g 3)", ">>> check hosts = :"].map(str::to_owned);
            assert_eq!(statement(&trace), expected.map(|(file, line)| (PathBuf::from(file), line)), "{line}");
        }
    }
}
