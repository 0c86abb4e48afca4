//! How messages stand on a connection: a length, and so many bytes of postcard.

use std::io::{self, ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes a message.
pub(crate) fn write<T: Serialize>(to: &mut impl Write, message: &T) -> io::Result<()> {
    let bytes = postcard::to_allocvec(message).map_err(invalid)?;
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(bytes);
    to.write_all(&frame)?;
    to.flush()
}

/// Reads a message of at most so many bytes.
pub(crate) fn read<T: DeserializeOwned>(from: &mut impl Read, bytes_max: u32) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > bytes_max {
        return Err(invalid(format!(
            "a message of {length} bytes, where {bytes_max} are allowed"
        )));
    }
    let mut bytes = Vec::new();
    from.take(length.into()).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    postcard::from_bytes(&bytes).map_err(invalid)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_longer_or_cut_off() {
        let mut bytes = Vec::new();
        write(&mut bytes, &"seven".to_owned()).expect("memory can be written");
        write(&mut bytes, &7_u64).expect("memory can be written");
        let mut from = bytes.as_slice();
        assert_eq!(read::<String>(&mut from, 6).expect("a message"), "seven");
        assert_eq!(read::<u64>(&mut from, 6).expect("a message"), 7);
        let end = read::<u64>(&mut from, 6).expect_err("there is no more");
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
        let long = read::<String>(&mut bytes.as_slice(), 5).expect_err("it has 6 bytes");
        assert_eq!(
            long.to_string(),
            "a message of 6 bytes, where 5 are allowed"
        );
        let cut = read::<String>(&mut &bytes[..7], 6).expect_err("it is cut off");
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
    }
}
