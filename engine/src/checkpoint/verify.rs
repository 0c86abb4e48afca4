//! Checking everything that is kept.

/// What has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Checkpoints, savepoints included.
    pub checkpoints: usize,
    /// Parts that they name.
    pub parts: usize,
    /// The size of the parts.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, with its location.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}
