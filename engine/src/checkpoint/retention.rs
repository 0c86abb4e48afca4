//! Retention: which checkpoints are kept, and what goes with the others.

/// What tidying up has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Checkpoints beyond those to keep.
    pub checkpoints: usize,
    /// Parts that no kept checkpoint names.
    pub parts: usize,
}
