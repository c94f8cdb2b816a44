//! What neither reads nor writes anything: values in, values out. Outside of tests the one exception is
//! [`Timestamp::now`](time::Timestamp::now), which only those call who may read a clock. Unsafe code cannot be
//! written here.
#![forbid(unsafe_code)]

pub mod asked;
pub mod evidence;
pub mod identity;
pub mod learned;
pub mod network;
pub mod pasted;
pub mod policy;
pub mod recipient;
pub mod reply;
pub mod request;
pub mod rules;
pub mod sender;
pub mod time;
pub mod triplet;
pub mod value;
pub mod whitelist;
pub mod words;
