//! The real-Exim ring: Debian's own Exim as a daemon, the shipped fragments, real SMTP.
//!
//! Each test runs in network and mount namespaces of its own (`world`), so that ports, addresses, DNS
//! and `/var/spool/exim4` are the test's alone and vanish with it. That needs root and Exim's heavy
//! daemon; `scripts/setup` installs what is missing. A missing requirement is a failure, never a skip, but for what an
//! older Exim cannot have (`world::Lacking`): that is said. `make test-exims` runs the ring in the Exim of each Debian.
#![allow(unsafe_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod dns;
#[path = "../common/schema.rs"]
mod schema;
mod smtp;
mod world;

mod boundary;
mod debian;
mod decisions;
mod doctor;
mod enable;
mod explain;
mod faults;
mod identities;
mod logs;
mod name_servers;
mod recipes;
mod replay;
mod topologies;
mod tour;
mod words;
