//! `eximgrey normalize`: prints the key of each sender, and with `--why` how it came about.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt;

use crate::command::{self, Outcome, one_of};
use clap::Args;
use eximgrey::pasted;
use eximgrey::sender::{Explanation, Level, Printable, explain, normalise};
use eximgrey::settings::Settings;
use serde_json::json;

const EXAMPLES: &str = "\
Examples:
  eximgrey normalize --why bounces-1234@list.example
  awk '$4 == \"<=\" {print $5}' /var/log/exim4/mainlog | eximgrey normalize --stdin | sort -u";

/// Show the sender key of addresses.
///
/// That is the form in which greylisting compares envelope senders.
///
/// One line for each address: the address, a tab, the key. `\*` in a key stands for a part that was masked.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Normalize {
    /// Envelope senders; '' or '<>' is the null sender
    #[arg(value_name = "ADDRESS", required_unless_present = "stdin")]
    pub addresses: Vec<OsString>,

    /// Read from standard input: one sender a line, or sender, tab, recipient
    #[arg(long, conflicts_with = "addresses")]
    pub stdin: bool,

    /// Also print each rule that fired, and what it took away
    #[arg(long)]
    pub why: bool,

    /// The recipient the senders wrote to: found inside a sender, it is cut out exactly
    #[arg(long, value_name = "ADDRESS")]
    pub recipient: Option<OsString>,

    /// How much to normalise [default: what the configuration says]
    #[arg(long, value_parser = one_of::<Level>())]
    pub level: Option<Level>,

    /// Print one JSON object a line, with the steps
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Normalize, settings: &Settings, out: &mut impl Write) -> command::Result {
    let level = args.level.unwrap_or(settings.rules.sender_key);
    let recipient = args.recipient.as_ref().map(|recipient| pasted::address(recipient.as_bytes()));
    let recipient = recipient.as_deref();
    if args.stdin {
        print_lines(args, level, recipient, &mut io::stdin().lock(), out)?;
    }
    for address in &args.addresses {
        print_one(args, level, &pasted::address(address.as_bytes()), recipient, out)?;
    }
    Ok(Outcome::Done)
}

/// One sender a line; a recipient of its own wins over the one of the command line.
fn print_lines(
    args: &Normalize,
    level: Level,
    recipient: Option<&[u8]>,
    input: &mut impl BufRead,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let mut fields = text.splitn(2, |&byte| byte == b'\t');
        let sender = fields.next().unwrap_or_default();
        print_one(args, level, sender, fields.next().or(recipient), out)?;
        line.clear();
    }
    Ok(())
}

fn print_one(
    args: &Normalize,
    level: Level,
    sender: &[u8],
    recipient: Option<&[u8]>,
    out: &mut impl Write,
) -> io::Result<()> {
    let address = Printable(sender);
    if !args.json && !args.why {
        return writeln!(out, "{address}\t{}", normalise(sender, recipient, level));
    }
    let Explanation { key, steps } = explain(sender, recipient, level);
    let mut steps = steps.iter().map(|step| (step.rule.word(), Printable(&step.taken)));
    if args.json {
        let steps: Vec<_> =
            steps.map(|(rule, taken)| json!({"rule": rule, "taken": taken.to_string()})).collect();
        let object = json!({"address": address.to_string(), "key": key.to_string(), "steps": steps});
        return writeln!(out, "{object}");
    }
    writeln!(out, "{address}\t{key}")?;
    steps.try_for_each(|(rule, taken)| writeln!(out, "    {rule:<10} {taken}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        normalize: Normalize,
    }

    fn output(args: &[&str]) -> String {
        let args = Command::try_parse_from(["normalize"].iter().chain(args)).unwrap().normalize;
        let mut out = Vec::new();
        run(&args, &Settings::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Each address is a line with its key, and a hostile one cannot forge a second.
    #[test]
    fn one_line_an_address() {
        assert_eq!(
            output(&["bounces-1234@d.example", ""]),
            "bounces-1234@d.example\tbounces-\\*@d.example\n\t<>\n"
        );
        assert_eq!(
            output(&["a\n\u{1b}[2Jb@d.example"]),
            "a\\x0a\\x1b[2Jb@d.example\ta\\x0a\\x1b[2jb@d.example\n"
        );
    }

    /// The level of the command line wins over that of the configuration.
    #[test]
    fn level_option_wins() {
        let sender = "bounces-1234@d.example";
        assert_eq!(output(&["--level", "exact", sender]), format!("{sender}\t{sender}\n"));
        assert!(Command::try_parse_from(["normalize", "--level", "some", sender]).is_err());
    }

    /// `--why` names each rule and what it took.
    #[test]
    fn why_names_the_rules() {
        let told = output(&["--why", "--recipient", "a@b.example", "x-return-12-a=b.example@d.example"]);
        let expected = "x-return-12-a=b.example@d.example\tx-return-\\*@d.example\n    recipient  a=b.example\n    bounce     12-a=b.example\n";
        assert_eq!(told, expected);
    }

    /// `--json` tells the same to a program.
    #[test]
    fn json_is_one_object_a_line() {
        let told: serde_json::Value =
            serde_json::from_str(&output(&["--json", "b-return-123@d.example"])).unwrap();
        let expected = json!({
            "address": "b-return-123@d.example",
            "key": "b-return-\\*@d.example",
            "steps": [{"rule": "bounce", "taken": "123"}],
        });
        assert_eq!(told, expected);
    }

    /// Standard input may hold any bytes, and a recipient behind a tab.
    #[test]
    fn lines_are_bytes() {
        let args = Command::try_parse_from(["normalize", "--stdin"]).unwrap().normalize;
        let mut out = Vec::new();
        let mut input: &[u8] = b"\xff-1@d.example\r\nnews-bob=b.example@d.example\tbob@b.example";
        print_lines(&args, Level::Full, None, &mut input, &mut out).unwrap();
        let expected =
            "\\xff-1@d.example\t\\xff-1@d.example\nnews-bob=b.example@d.example\tnews-\\*@d.example\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(Command::try_parse_from(["normalize"]).is_err());
    }
}
