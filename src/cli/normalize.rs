//! placeholder
use clap::Args;
use eximgrey::sender::Level;
use std::io::Write;
/// Show keys.
#[derive(Args)]
pub(super) struct Normalize {}
pub(super) fn run(_: &Normalize, _: Level, _: &mut impl Write) -> std::io::Result<()> {
    Ok(())
}
