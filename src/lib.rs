//! Greylisting inside Exim: a library for `${dlfunc}` with its store in LMDB, and no daemon.
//!
//! The way of a decision, and the modules in its order:
//!
//! ```text
//! Exim's ACL -> ffi -> request -> triplet (identity, sender) -> store: read -> policy::decide -> store: write -> reply
//! ```
//!
//! [`policy::decide`] is pure: evidence, rules and the time in, a verdict and a change out. Unsafe code is in [`ffi`], in
//! [`prepared`] and in four files of [`store`].

#[cfg(not(panic = "unwind"))]
compile_error!("build with panic = \"unwind\": a panic must not end Exim's process");

pub mod ffi;
pub mod identity;
pub mod policy;
pub mod prepared;
pub mod reply;
pub mod request;
pub mod rules;
pub mod sender;
pub mod session;
pub mod settings;
pub mod store;
pub mod time;
pub mod triplet;
pub mod value;
pub mod whitelist;
pub mod words;
