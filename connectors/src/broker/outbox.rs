//! The records of an epoch, encoded, as they wait for the epoch to be sealed.

/// The form that records have in an outbox, which stands before each of them.
const VERSION: u8 = 1;
/// Stands in place of the length of a key that is not there.
const NO_KEY: u32 = u32::MAX;

/// A record as it will be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Staged<'a> {
    /// Milliseconds since the Unix epoch, where the record has a time of its own.
    pub(crate) time_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) headers: Vec<(&'a str, &'a [u8])>,
    pub(crate) value: &'a [u8],
}

impl<'a> Staged<'a> {
    /// What it takes up, but for what surrounds it.
    pub(crate) fn bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        self.key.map_or(0, <[u8]>::len) + headers + self.value.len()
    }

    /// Appends it to an outbox.
    pub(crate) fn put(&self, outbox: &mut Vec<u8>) {
        outbox.push(VERSION);
        outbox.extend_from_slice(&self.time_ms.unwrap_or(i64::MIN).to_le_bytes());
        match self.key {
            Some(key) => put_bytes(key, outbox),
            None => outbox.extend_from_slice(&NO_KEY.to_le_bytes()),
        }
        outbox.extend_from_slice(&length(self.headers.len()));
        for (name, value) in &self.headers {
            put_bytes(name.as_bytes(), outbox);
            put_bytes(value, outbox);
        }
        put_bytes(self.value, outbox);
    }

    /// Takes one off the front of an outbox; none where that is not one.
    fn take(outbox: &mut &'a [u8]) -> Option<Self> {
        if take(outbox, 1)? != [VERSION] {
            return None;
        }
        let time = take(outbox, 8)?.try_into().ok()?;
        let time_ms = Some(i64::from_le_bytes(time)).filter(|time| *time != i64::MIN);
        let key = match take_number(outbox)? {
            NO_KEY => None,
            length => Some(take(outbox, length as usize)?),
        };
        let mut headers = Vec::new();
        for _ in 0..take_number(outbox)? {
            let name = std::str::from_utf8(take_bytes(outbox)?).ok()?;
            headers.push((name, take_bytes(outbox)?));
        }
        Some(Self {
            time_ms,
            key,
            headers,
            value: take_bytes(outbox)?,
        })
    }
}

/// The records of an outbox, in the order in which they were added.
///
/// # Errors
/// When it was not made here.
pub(crate) fn records(mut outbox: &[u8]) -> Result<Vec<Staged<'_>>, String> {
    let mut records = Vec::new();
    while !outbox.is_empty() {
        let number = records.len();
        let record = Staged::take(&mut outbox);
        records.push(record.ok_or_else(|| {
            format!("record {number} of an outbox is not in a form that this version knows")
        })?);
    }
    Ok(records)
}

fn length(length: usize) -> [u8; 4] {
    let length = u32::try_from(length).expect("invariant: what is sent is smaller than 4 GiB");
    length.to_le_bytes()
}

fn put_bytes(bytes: &[u8], outbox: &mut Vec<u8>) {
    outbox.extend_from_slice(&length(bytes.len()));
    outbox.extend_from_slice(bytes);
}

fn take<'a>(outbox: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = outbox.split_at_checked(length)?;
    *outbox = rest;
    Some(taken)
}

fn take_number(outbox: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(outbox, 4)?.try_into().ok()?))
}

fn take_bytes<'a>(outbox: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take_number(outbox)?;
    take(outbox, length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> [Staged<'static>; 3] {
        [
            Staged {
                time_ms: Some(-5),
                key: Some(b"card"),
                headers: vec![("thalweg-id", b"0-1-2-3"), ("model", b"")],
                value: b"one",
            },
            Staged::default(),
            Staged {
                key: Some(b""),
                value: b"three",
                ..Staged::default()
            },
        ]
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let mut outbox = Vec::new();
        let staged = examples();
        staged.iter().for_each(|record| record.put(&mut outbox));
        assert_eq!(records(&outbox).as_deref(), Ok(&staged[..]));
        assert_eq!(staged[0].bytes(), 4 + 10 + 7 + 5 + 3);
        assert_eq!(records(&[]), Ok(Vec::new()));
    }

    #[test]
    fn an_outbox_that_is_cut_off_or_of_another_version_is_an_error() {
        let mut outbox = Vec::new();
        let mut ends = vec![0];
        for record in examples() {
            record.put(&mut outbox);
            ends.push(outbox.len());
        }
        for end in 0..outbox.len() {
            assert_eq!(
                records(&outbox[..end]).is_ok(),
                ends.contains(&end),
                "{end}"
            );
        }
        outbox[ends[1]] = 9;
        let error = records(&outbox).expect_err("another version");
        assert!(error.starts_with("record 1 of an outbox"), "{error}");
    }
}
