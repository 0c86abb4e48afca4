//! The form of a part's file.
