//! Defects that a simulation plants, to see whether it would find them.

/// A defect. None of them is in any build but one with the feature `simulation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(
    not(feature = "simulation"),
    expect(dead_code, reason = "nobody plants them")
)]
pub enum Defect {
    /// An outbox is published before its epoch is sealed.
    PublishBeforeSeal,
    /// A generation begins without its fence.
    SkipFence,
    /// What the store has taken is not safe from a crash.
    SkipFsync,
    /// An outbox counts as published before it is.
    EarlyOutboxDeletion,
    /// How far has been published is noted after the transaction, not in it.
    ProgressOutsideTransaction,
    /// A producer takes the name of the one before it.
    ReusedProducerName,
    /// A producer goes on after its client had to try again.
    RetryIgnored,
    /// A partition that comes later is read from its end.
    NewPartitionFromEnd,
    /// The offset that an epoch ends with is one too far.
    OffByOneOffset,
    /// How far has been published is read before those that could still publish are fenced off.
    StaleSlotNotFenced,
    /// Parts are read without their hashes being looked at.
    ChecksumIgnored,
    /// Watermarks begin anew after a restart.
    WatermarkGoesBack,
    /// A key that changes while state is being taken is saved as it is afterwards.
    ChangedBeforeTaken,
    /// Streams are united without regard to epochs.
    EpochsMerged,
    /// What an epoch left out counts as told before its letters are sealed.
    LettersCountUnsealed,
    /// An epoch of the run is published before those that earlier runs have left.
    RestoredOvertaken,
}
