//! What can be wrong with an aggregate's settings.

/// A setting of an aggregate that cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// A quantile outside of 0 to 1.
    #[error("quantile {0} is not between 0 and 1")]
    Quantile(f64),
    /// A relative accuracy that no sketch can have.
    #[error("relative accuracy {0} is not between 0.000001 and 0.5")]
    Accuracy(f64),
    /// A KLL sketch too small or too large.
    #[error("a KLL sketch keeps 8 to 65535 values a level, not {0}")]
    Kept(usize),
    /// A HyperLogLog sketch too small or too large.
    #[error("a HyperLogLog sketch has a precision of 4 to 21 bits, not {0}")]
    Precision(u8),
    /// Edges of a histogram that are missing, not finite or not in order.
    #[error("histogram edges must be at least one finite number, each above the one before it")]
    Edges,
    /// A half-life of nothing.
    #[error("a half-life must be at least one microsecond")]
    HalfLife,
}
