//! The recipes of exim-conf/recipes, each one as shipped, in a real Exim.

use std::fs;

use crate::world::{FRAGMENTS, SHIPPED, World};

pub mod peer;

mod at_data;
mod codes;
pub mod dkim;
mod fingerprint;
mod junk;
mod manners;
mod selective;
mod sent;
mod signs;
mod spared;
mod traps;
mod wording;

pub const CLIENT: &str = "198.51.100.7";
pub const SENDER: &str = "alice@sender.test";
pub const USER: &str = "user@example.org";
pub const OTHER: &str = "other@example.org";

/// Where a recipe belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the main section, above main.conf.
    Main,
    /// In the file that EXIMGREY_CHOICE names.
    Choice,
    /// In the RCPT ACL, before rcpt.conf.
    BeforeRcpt,
    /// In the DATA ACL, before data.conf.
    BeforeData,
    /// In the DATA ACL, after data.conf.
    AfterData,
}

/// Every recipe, and where it belongs.
pub const RECIPES: [(&str, Place); 15] = [
    ("at-data", Place::Main),
    ("dkim", Place::Main),
    ("fingerprint", Place::Main),
    ("codes", Place::Main),
    ("tarpit", Place::Main),
    ("seconds-left", Place::Main),
    ("url", Place::Main),
    ("x-greylist", Place::Main),
    ("selective", Place::Choice),
    ("signs", Place::Choice),
    ("tls-certificate", Place::Choice),
    ("opt-out", Place::Choice),
    ("spamtrap", Place::Choice),
    ("spam-feedback", Place::BeforeData),
    ("sent", Place::AfterData),
];

/// The line that includes a recipe.
pub fn include(recipe: &str) -> String {
    let shipped = format!("{SHIPPED}/recipes/{recipe}.conf");
    assert!(fs::exists(&shipped).unwrap(), "{shipped}");
    format!(".include {FRAGMENTS}/recipes/{recipe}.conf\n")
}

/// Puts `statements` where they belong; yields the text for the main section that does it.
pub fn put(world: &World, place: Place, statements: &str) -> String {
    let name = match place {
        Place::Main => return statements.to_owned(),
        Place::Choice => "EXIMGREY_CHOICE",
        Place::BeforeRcpt => "BEFORE_RCPT",
        Place::BeforeData => "BEFORE_DATA",
        Place::AfterData => "AFTER_DATA",
    };
    let file = world.path(name);
    fs::write(&file, statements).unwrap();
    format!("{name} = {}\n", file.display())
}
