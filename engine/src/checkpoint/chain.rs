//! Which parts make up the state of a step.
