//! How records become values and keys.

use std::sync::Arc;

use thalweg_engine::record::Record;

use super::delivery::write_id;

type Encode<T> = dyn Fn(&Record<T>, &mut Vec<u8>) -> Result<(), String> + Send + Sync;
type MakeKey<T> = dyn Fn(&T, &mut Vec<u8>) -> bool + Send + Sync;

/// What the records of a sink are written as.
pub(crate) struct Form<T> {
    encode: Arc<Encode<T>>,
    key: Option<Arc<MakeKey<T>>>,
}

impl<T> Clone for Form<T> {
    fn clone(&self) -> Self {
        Self {
            encode: Arc::clone(&self.encode),
            key: self.key.clone(),
        }
    }
}

impl<T> Form<T> {
    /// Values as `encode` makes them, without keys.
    pub(crate) fn new(
        encode: impl Fn(&Record<T>, &mut Vec<u8>) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            encode: Arc::new(encode),
            key: None,
        }
    }

    pub(crate) fn set_key<K: AsRef<[u8]>>(
        &mut self,
        key: impl Fn(&T) -> Option<K> + Send + Sync + 'static,
    ) {
        self.key = Some(Arc::new(move |value, bytes| {
            key(value).is_some_and(|key| {
                bytes.extend_from_slice(key.as_ref());
                true
            })
        }));
    }
}

/// A record as it is to be sent, in room that is used again for the next one.
#[derive(Default)]
pub(crate) struct Encoded {
    pub(crate) value: Vec<u8>,
    /// The record's own id.
    pub(crate) id: String,
    key: Vec<u8>,
    has_key: bool,
}

impl Encoded {
    /// Takes in a record; or says why it has no form.
    pub(crate) fn take<T>(&mut self, form: &Form<T>, record: &Record<T>) -> Result<(), String> {
        self.value.clear();
        (form.encode)(record, &mut self.value)?;
        self.key.clear();
        let key = form.key.as_ref();
        self.has_key = key.is_some_and(|key| key(&record.value, &mut self.key));
        write_id(record.origin, &mut self.id);
        Ok(())
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.has_key.then_some(&*self.key)
    }
}
