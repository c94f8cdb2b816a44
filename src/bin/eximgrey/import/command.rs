//! `eximgrey import`

use super::own;
use crate::command::{self, Result};
use clap::Args;
use eximgrey::settings::Settings;
use eximgrey::words;
use std::io::Write;
use std::path::PathBuf;

/// Takes in what another greylister has learnt, or another eximgrey has exported. What is known already loses
/// nothing by it, and the same files may be read again.
#[derive(Args)]
pub struct Import {
    /// Who wrote the files
    #[arg(value_parser = command::one_of::<Peer>())]
    peer: Peer,
    /// The files; - for the standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only say what would be imported
    #[arg(long)]
    dry_run: bool,
}

words! {
    /// Whose files can be imported.
    Peer {
        /// What `eximgrey export` has written.
        Eximgrey = "eximgrey",
    }
}

pub fn run(command: &Import, settings: &Settings, out: &mut impl Write) -> Result {
    match command.peer {
        Peer::Eximgrey => own::run(&command.files, command.dry_run, settings, out),
    }
}
