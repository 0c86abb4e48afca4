//! Buckets: S3, Google Cloud Storage, Azure.

use std::ops::Range;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::{Builder, Runtime};

use super::{Object, Store};
use crate::checkpoint::error::{StoreError, StoreErrorKind};
use crate::time::secs;

/// How long a call tries again by itself before it says that the store is away.
const PATIENCE_S: u64 = 20;

/// A prefix in a bucket.
///
/// The bucket must make objects only if they are absent, which S3, Google Cloud Storage and Azure do, and
/// list what has been made at once, which they do, too.
#[derive(Debug)]
pub struct Cloud {
    store: Arc<dyn ObjectStore>,
    url: String,
    prefix: Path,
    runtime: Runtime,
}

impl Cloud {
    /// The store that a URL such as `s3://bucket/prefix` names. Nothing is read yet.
    ///
    /// # Errors
    /// When the URL, or what the environment says of the bucket, makes no sense.
    pub fn open(url: &str) -> Result<Self, String> {
        // Somebody may have chosen how to do TLS before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (scheme, place) = url.split_once("://").unwrap_or_default();
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err("it names no bucket; give one as in `s3://bucket/prefix`".to_owned());
        }
        let bucket = format!("{scheme}://{bucket}");
        let retry = RetryConfig {
            retry_timeout: secs(PATIENCE_S),
            ..RetryConfig::default()
        };
        let store: Result<Arc<dyn ObjectStore>, Error> = match scheme {
            "s3" => {
                let builder = AmazonS3Builder::from_env().with_url(bucket);
                builder
                    .with_retry(retry)
                    .build()
                    .map(|store| Arc::new(store) as _)
            }
            "gs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_url(bucket);
                builder
                    .with_retry(retry)
                    .build()
                    .map(|store| Arc::new(store) as _)
            }
            _ => {
                let builder = MicrosoftAzureBuilder::from_env().with_url(bucket);
                builder
                    .with_retry(retry)
                    .build()
                    .map(|store| Arc::new(store) as _)
            }
        };
        let store = store.map_err(|error| {
            format!("{error}; see that the environment says how to get at the bucket")
        })?;
        Self::new(store, url, prefix)
    }

    fn new(store: Arc<dyn ObjectStore>, url: &str, prefix: &str) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        Ok(Self {
            store,
            url: url.trim_end_matches('/').to_owned(),
            prefix: Path::parse(prefix.trim_end_matches('/')).map_err(|error| error.to_string())?,
            runtime: runtime.map_err(|error| error.to_string())?,
        })
    }

    fn path(&self, name: &str) -> Path {
        self.prefix
            .parts()
            .chain(Path::from(name).parts())
            .collect()
    }
}

fn store_error(error: Error) -> StoreError {
    let kind = match &error {
        Error::NotFound { .. } => StoreErrorKind::NotFound,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => StoreErrorKind::AlreadyExists,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => StoreErrorKind::Denied,
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => StoreErrorKind::Other,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, error.to_string())
}

impl Store for Cloud {
    fn describe(&self) -> String {
        self.url.clone()
    }

    fn create(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let options = PutOptions::from(PutMode::Create);
        let (path, content) = (self.path(name), PutPayload::from(content.to_vec()));
        let made = self.store.put_opts(&path, content, options);
        self.runtime.block_on(made).map(drop).map_err(store_error)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let path = self.path(name);
        let read = async { self.store.get(&path).await?.bytes().await };
        let bytes = self.runtime.block_on(read).map_err(store_error)?;
        Ok(bytes.into())
    }

    fn read_range(&self, name: &str, range: Range<u64>) -> Result<Vec<u8>, StoreError> {
        let path = self.path(name);
        let read = async {
            // A range that begins behind the end is an error to some stores and not to others.
            let size = self.store.head(&path).await?.size;
            let range = range.start.min(size)..range.end.min(size);
            if range.is_empty() {
                return Ok(Vec::new());
            }
            Ok(self.store.get_range(&path, range).await?.into())
        };
        self.runtime.block_on(read).map_err(store_error)
    }

    fn list(&self, folder: &str) -> Result<Vec<Object>, StoreError> {
        let folder = self.path(folder);
        let listed = self.store.list(Some(&folder)).try_collect::<Vec<_>>();
        let listed = self.runtime.block_on(listed).map_err(store_error)?;
        let mut objects: Vec<_> = listed
            .iter()
            .filter_map(|object| {
                let name: Path = object.location.prefix_match(&self.prefix)?.collect();
                Some(Object {
                    name: name.to_string(),
                    bytes: object.size,
                })
            })
            .collect();
        objects.sort();
        Ok(objects)
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        match self.runtime.block_on(self.store.delete(&path)) {
            Err(error) if !matches!(error, Error::NotFound { .. }) => Err(store_error(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::testing::conformance::check_store;

    #[test]
    fn a_bucket_is_a_store() {
        for prefix in ["", "teams/fraud"] {
            let bucket = Arc::new(InMemory::new());
            check_store(&Cloud::new(bucket, "memory://", prefix).expect("a store"));
        }
    }

    #[test]
    fn urls_name_a_bucket_and_a_prefix() {
        let check = |url: &str, expected: Result<&str, &str>| match (Cloud::open(url), expected) {
            (Ok(cloud), Ok(expected)) => assert_eq!(cloud.path("log/1").as_ref(), expected),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
            (opened, _) => panic!("{url}: {opened:?}"),
        };
        check("s3://bucket/teams/fraud", Ok("teams/fraud/log/1"));
        check("s3://bucket", Ok("log/1"));
        check("s3://bucket/", Ok("log/1"));
        check("s3://", Err("it names no bucket"));
        check("az://container/fraud", Err("environment"));
    }
}
