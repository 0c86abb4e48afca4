//! Buckets: S3, Google Cloud Storage, Azure.
