//! The log of manifests and fences.
