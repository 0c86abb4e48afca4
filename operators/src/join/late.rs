//! What becomes of records that come behind a join's watermark.

/// What a join does with a record that comes behind its watermark.
///
/// A source sends what is late for its own partition to its late stream, so such a record is rare:
/// it comes from a partition or a stream that was idle, did not hold the watermark back, and has
/// woken up with old data. What it would have met may have been dropped by then, and what follows
/// the join may have closed the books on its time.
///
/// A record that nothing is left for goes to the join's late stream under either policy: a row that
/// no event to come can meet, and an event of an inner interval join that finds no partner and whose
/// own partners can no longer come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatePolicy {
    /// It is joined with what is still there, and counted under `<step id>_late_joined`. An event
    /// may miss what has been dropped; it never meets what it should not.
    #[default]
    Join,
    /// It goes to the join's late stream: `flow.late("<step id>")`, or the job's late events.
    Divert,
}
