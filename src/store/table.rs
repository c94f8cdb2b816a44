//! The names of the two environments, and what a scan of one may meet.

/// The two environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// What is worth keeping: `known`.
    Known,
    /// First attempts of this boot: `pending-BOOT`.
    Pending,
}

/// What a scan met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Records of a version or kind that this library does not know.
    pub unreadable: u64,
}
