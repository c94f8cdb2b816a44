//! Greylisting inside Exim: a library for `${dlfunc}` with its store in LMDB, and no daemon.
//!
//! The way of a decision, and the modules in its order:
//!
//! ```text
//! Exim's ACL -> ffi -> request -> triplet (identity, sender) -> decision -> reply
//!                                                               decision: memory reads -> policy::decide -> memory writes
//! ```
//!
//! [`policy::decide`] is pure: evidence, rules and the time in, a verdict and a change out. The [`store`] is
//! a [`memory`]. Unsafe code cannot be written in [`pure`], and is denied elsewhere but where `#![allow(unsafe_code)]` stands: in [`ffi`] and in four
//! files of [`store`].

#[cfg(not(panic = "unwind"))]
compile_error!("build with panic = \"unwind\": a panic must not end Exim's process");

pub mod decision;
pub mod ffi;
pub mod memory;
pub mod prepared;
pub mod pure;
pub mod session;
pub mod settings;
pub mod store;

pub use pure::{
    asked, evidence, identity, learned, network, pasted, policy, recipient, reply, request, rules, sender,
    time, triplet, value, whitelist, words,
};
