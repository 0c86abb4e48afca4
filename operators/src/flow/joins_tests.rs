//! The joins against their definitions, recomputed from all events by nested loops.

mod cases;
mod intervals;
mod runs;
mod tables;
