//! The command `eximgrey`. Everything it does is in `src/cli`.

#[path = "../cli/mod.rs"]
mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
