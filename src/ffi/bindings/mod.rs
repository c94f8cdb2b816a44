//! What Exim's `local_scan.h` says, for each generation that is known: made by `make bindings`.

pub mod exim_4_100;
pub mod exim_4_99;
