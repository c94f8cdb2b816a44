//! What is for eyes only: colours, a pager, and how far long work is. Each is there on a terminal alone; in a
//! pipe or a file the lines are plain.

use crate::command::Result;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use eximgrey::words;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};
use std::env;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

words! {
    /// When to colour.
    When {
        /// On a terminal, unless NO_COLOR is set.
        Auto = "auto",
        /// In pipes and files, too.
        Always = "always",
        /// Not at all.
        Never = "never",
    }
}

/// Takes the administrator's word on colours. To be called before anything is coloured.
pub fn colour(when: When) {
    let choice = match when {
        When::Auto => ColorChoice::Auto,
        When::Always => ColorChoice::AlwaysAnsi,
        When::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// Text in a style; plain where there are no colours. To be padded before it is painted.
pub struct Painted<T>(Style, T);

impl<T: Display> Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(style, text) = self;
        write!(f, "{style}{text}{style:#}")
    }
}

const fn coloured(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(anstyle::Color::Ansi(colour)))
}

fn paint<T>(style: Style, text: T) -> Painted<T> {
    static COLOURS: OnceLock<bool> = OnceLock::new();
    let colours = COLOURS.get_or_init(|| AutoStream::choice(&io::stdout()) != ColorChoice::Never);
    Painted(if *colours { style } else { Style::new() }, text)
}

/// What names the columns or lines below or behind it.
pub fn heading<T: Display>(text: T) -> Painted<T> {
    paint(Style::new().bold(), text)
}

/// As it should be; mail that passes.
pub fn good<T: Display>(text: T) -> Painted<T> {
    paint(coloured(AnsiColor::Green), text)
}

/// Somebody should look; mail that waits.
pub fn notable<T: Display>(text: T) -> Painted<T> {
    paint(coloured(AnsiColor::Yellow), text)
}

/// Broken.
pub fn bad<T: Display>(text: T) -> Painted<T> {
    paint(coloured(AnsiColor::Red).bold(), text)
}

/// Nothing of all that.
pub fn plain<T: Display>(text: T) -> Painted<T> {
    paint(Style::new(), text)
}

/// Broken, on the standard error.
pub fn bad_on_error<T: Display>(text: T) -> Painted<T> {
    let plain = AutoStream::choice(&io::stderr()) == ColorChoice::Never;
    Painted(if plain { Style::new() } else { coloured(AnsiColor::Red).bold() }, text)
}

/// Has `print` write into a pager where the standard output is a terminal and `wanted`; else to `out`.
///
/// The pager is `$PAGER`, or less. It runs as whoever this process is, so who calls this has become the
/// store's owner before, and has no transaction open: a pager may stay open for days.
pub fn paged<W: Write>(
    wanted: bool,
    out: &mut W,
    print: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let pager = (wanted && io::stdout().is_terminal()).then(pager).flatten();
    let Some(mut pager) = pager else { return Ok(print(out)?) };
    out.flush()?;
    // Control-C is for the pager. Its own signals are not blocked: the standard library sees to that.
    let interrupts = SigSet::from_iter([Signal::SIGINT, Signal::SIGQUIT]);
    let _ = interrupts.thread_block();
    // Who leaves the pager early closes the pipe, which is no error here, either. The pipe ends with this.
    let printed = pager.stdin.take().map(io::BufWriter::new).map_or(Ok(()), |mut pipe| {
        print(&mut pipe)?;
        pipe.flush()
    });
    pager.wait()?;
    let _ = interrupts.thread_unblock();
    match printed {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Starts the pager; `None` where none is wanted, or none is there.
fn pager() -> Option<Child> {
    let asked = env::var("PAGER").unwrap_or_else(|_| "less".into());
    let mut words = asked.split_whitespace();
    let program = words.next().filter(|program| *program != "cat")?;
    let mut command = Command::new(program);
    // Ends at once where one screen is enough, shows colours, and leaves the lines on the screen.
    if env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    // Who may run this command by sudo shall not get a shell, another program, or a file of the store's owner by it.
    command.env("LESSSECURE", "1").env_remove("LESSOPEN").env_remove("LESSCLOSE");
    command.args(words).stdin(Stdio::piped()).spawn().ok()
}

/// How far long work is: a line on the standard error while that is a terminal, gone when this is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Of work with so many steps; `None`: nobody knows how many.
    pub fn new(what: &'static str, steps: Option<u64>) -> Self {
        Self::styled(what, steps, "{prefix:<10} {wide_bar} {percent:>3} % {msg}")
    }

    /// Of so many bytes that are read.
    pub fn bytes(what: &'static str, bytes: u64) -> Self {
        Self::styled(what, Some(bytes), "{prefix:<10} {wide_bar} {percent:>3} % {bytes_per_sec} {msg}")
    }

    fn styled(what: &'static str, length: Option<u64>, template: &str) -> Self {
        let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let template = if length.is_some() { template } else { "{prefix:<10} {spinner} {elapsed} {msg}" };
        // A template that cannot be read, which a test would show, leaves a plain bar.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_prefix(what);
        if length.is_none() {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Self(bar)
    }

    /// So many steps or bytes are done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// What is read from `file` counts.
    pub fn reading<R: Read>(&self, file: R) -> impl Read + use<R> {
        self.0.wrap_read(file)
    }

    /// A few words on it.
    pub fn say(&self, text: String) {
        self.0.set_message(text);
    }
}

/// A line at the bottom of the terminal that changes, below lines that stay.
pub struct Live(Option<ProgressBar>);

impl Live {
    /// One, where it is `wanted` and the standard output is a terminal.
    pub fn new(wanted: bool) -> Self {
        let there = wanted && io::stdout().is_terminal();
        Self(there.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.with_style(
                ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
            )
        }))
    }

    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// What the line says from now on.
    pub fn say(&self, text: String) {
        self.0.iter().for_each(|bar| bar.set_message(text.clone()));
    }

    /// Has `print` print above the line.
    pub fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.iter().for_each(ProgressBar::abandon);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_can_be_read() {
        for template in
            ["{prefix:<10} {wide_bar} {percent:>3} % {msg}", "{prefix:<10} {spinner} {elapsed} {msg}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }
}
