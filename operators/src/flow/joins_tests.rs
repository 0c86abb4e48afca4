//! The joins against their definitions, recomputed from all events by nested loops.

mod cases;
mod intervals;
mod limits;
mod runs;
mod tables;
