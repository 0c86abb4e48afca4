//! Checkpoints as a whole, against a model in memory.

mod crashes;
mod damage;
mod life;
mod processes;
mod races;
mod rig;
