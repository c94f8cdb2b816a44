//! What Exim itself asks about a mail, heard in a session that is not for real (`exim -bh`). The library
//! records nothing there, and shows each question in the output of `-d`.

use crate::command::end_in_time;
use crate::exim::daemon::Exim;
use crate::exim::session::DEADLINE;
use eximgrey::asked::{Asked, Function};
use eximgrey::request::Request;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What was heard of Exim.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Exim asks the library with these arguments, and then answers the client so.
    Question { arguments: Vec<Vec<u8>>, answer: String },
    /// Exim asks nothing, and answers so.
    Answer(String),
    /// Exim could not be heard, for this reason.
    Nothing(String),
}

/// Delivers the mail of `request` as its client would.
pub fn deliver(client: IpAddr, request: &Request<'_>) -> Heard {
    let exim = match Exim::find(None, None) {
        Ok(exim) => exim,
        Err(why) => return Heard::Nothing(why),
    };
    if let Err(why) = records_nothing(&exim) {
        return Heard::Nothing(why);
    }
    if [request.sender, request.recipient].concat().iter().any(u8::is_ascii_control) {
        return Heard::Nothing("an address has control characters".into());
    }
    // A client that has a name says it; without one it says its address (RFC 5321, 4.1.4).
    let name = match (&request.host, client.to_canonical()) {
        (Some(host), _) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        (None, IpAddr::V4(address)) => format!("[{address}]"),
        (None, IpAddr::V6(address)) => format!("[IPv6:{address}]"),
    };
    let head = format!("EHLO {name}\r\nMAIL FROM:<").into_bytes();
    let to_recipient = [&head, request.sender, b">\r\nRCPT TO:<", request.recipient, b">\r\n"].concat();
    let session = |rest: &[u8], steps| {
        let mut command = exim.command(&["-d-all+local_scan", "-bh", &client.to_canonical().to_string()]);
        let lines = [&to_recipient, rest, b"QUIT\r\n"].concat();
        match run(&mut command, &lines, DEADLINE) {
            Ok(Some([answers, trace])) => hear(&answers, &trace, steps),
            Ok(None) => Heard::Nothing("exim -bh takes too long: perhaps the DNS does not answer".into()),
            Err(error) => Heard::Nothing(format!("exim -bh cannot be run: {error}")),
        }
    };
    let at_rcpt = session(b"", 4);
    // The null sender is greylisted after DATA; with a recipe, all are. An empty message will do.
    match &at_rcpt {
        Heard::Answer(answer) if answer.starts_with('2') => session(b"DATA\r\n.\r\n", 6),
        _ => at_rcpt,
    }
}

/// Whether the library notices that a session of this Exim is not for real: in an Exim that it does not know it
/// cannot.
fn records_nothing(exim: &Exim) -> Result<(), String> {
    let library = exim
        .macro_value("EXIMGREY_SO")
        .ok_or("main.conf is not in Exim's configuration: eximgrey exim status says more")?;
    let call = format!("${{dlfunc{{{library}}}{{greylist_version}}{{$version_number}}}}");
    match exim.ask(&["-be", &call]) {
        Ok(answer) if answer.contains(" exim=4.") => Ok(()),
        Ok(answer) if answer.starts_with("version=") => {
            Err("the library does not know this Exim, and would record the session".into())
        }
        _ => Err(format!("Exim cannot load {library}: eximgrey doctor says more")),
    }
}

/// What the command prints on its standard output and its standard error when it reads `input`; `None` if it
/// did not end within `limit`.
fn run(command: &mut Command, input: &[u8], limit: Duration) -> io::Result<Option<[String; 2]>> {
    let file = || io::Result::Ok(File::from(memfd_create("session", MemfdFlags::CLOEXEC)?));
    let [mut lines, answers, trace] = [file()?, file()?, file()?];
    lines.write_all(input)?;
    lines.rewind()?;
    command.stdin(Stdio::from(lines)).stdout(answers.try_clone()?).stderr(trace.try_clone()?);
    if end_in_time(&mut command.spawn()?, limit).is_none() {
        return Ok(None);
    }
    let text = |mut file: File| {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Some([text(answers)?, text(trace)?]))
}

/// What a session of so many `steps` says; the greeting is the first.
fn hear(answers: &str, trace: &str, steps: usize) -> Heard {
    // Only the last line of an answer has a blank after the code.
    let is_last = |line: &&str| {
        line.split_once(' ')
            .is_some_and(|(code, _)| code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()))
    };
    let said: Vec<&str> = answers.lines().filter(is_last).take(steps).collect();
    let refusal = said.iter().find(|line| line.starts_with(['4', '5']));
    let Some(answer) = refusal.or_else(|| said.get(steps - 1)) else {
        return Heard::Nothing("exim -bh answers nothing; only root may ask it".into());
    };
    // A configuration may put into it what the client chooses.
    let answer = answer.trim().replace(|c: char| c != ' ' && !c.is_ascii_graphic(), "?");
    // Exim indents what it shows of an expansion.
    let lines = trace.lines().map(|line| line.trim_start_matches(|c: char| !c.is_ascii_alphabetic()));
    let mut ours = lines.map(|line| line.strip_prefix("eximgrey: ").unwrap_or_default());
    let mut question = None;
    while let Some(line) = ours.next() {
        // A question that was too long to be shown is not followed by its reply.
        if let Some(asked) = Asked::parse(line).filter(|asked| asked.function != Function::Peek)
            && ours.next().is_some_and(|line| line.starts_with("action="))
        {
            question = Some(asked.arguments);
        }
    }
    match question {
        Some(arguments) => Heard::Question { arguments, answer },
        None => Heard::Answer(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &str = "\n**** not for real\n220 mx ESMTP\r\n250-mx Hello\r\n250 HELP\r\n250 OK\r\n";

    #[test]
    fn the_last_question_counts() {
        let trace = "LOG: x\n  eximgrey: asked greylist_known{192.0.2.1}{a@x.example}{b@y}{spf=}\n\
                     eximgrey: action=defer reason=new wait=300\n\
                     \u{2502} eximgrey: asked greylist{192.0.2.1}{a@x.example}{b@y}{spf=x.example}\n\
                     eximgrey: action=defer reason=new wait=300\n\
                     eximgrey: asked greylist_peek{x}\neximgrey: action=pass reason=error error=bad-option\n\
                     eximgrey: asked greylist{cut\nsomething else\n";
        let heard = hear(&format!("{ANSWERS}451-4.7.1 Grey\r\n451 later\r\n221 bye\r\n"), trace, 4);
        let arguments =
            ["192.0.2.1", "a@x.example", "b@y", "spf=x.example"].map(|text| text.as_bytes().to_vec());
        assert_eq!(heard, Heard::Question { arguments: arguments.into(), answer: "451 later".into() });
    }

    #[test]
    fn without_a_question_there_is_the_answer() {
        let answer = |text: &str| Heard::Answer(text.into());
        for (rest, steps, expected) in [
            ("250 Accepted\r\n221 bye\r\n", 4, "250 Accepted"),
            ("550 \u{1b}[2Jrelay \u{fc}\r\n221 bye\r\n", 4, "550 ?[2Jrelay ?"),
            ("250 Accepted\r\n354 Enter\r\n250 OK id=1\r\n221 bye\r\n", 6, "250 OK id=1"),
        ] {
            assert_eq!(hear(&format!("{ANSWERS}{rest}"), "", steps), answer(expected));
        }
        assert_eq!(hear("554 no\r\n", "", 4), answer("554 no"));
        assert!(
            matches!(hear("", "exim: permission denied", 4), Heard::Nothing(why) if why.contains("root"))
        );
    }

    #[test]
    fn what_does_not_end_is_not_waited_for() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let heard = run(&mut shell("cat; echo trace >&2"), b"lines", DEADLINE).unwrap();
        assert_eq!(heard, Some(["lines".into(), "trace\n".into()]));
        assert_eq!(run(&mut shell("exec sleep 600"), b"", Duration::from_millis(1)).unwrap(), None);
    }
}
