//! Savepoints and exports: copies of a checkpoint that are kept until somebody deletes them.
