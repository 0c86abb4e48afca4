//! What is looked at once a value has been decoded.

use std::sync::Arc;

use thalweg_engine::source::Undecodable;

use super::decode::undecodable;

/// Says why a value that was decoded is to be refused.
pub(crate) type Check<T> = Arc<dyn Fn(&T) -> Result<(), String> + Send + Sync>;

/// The value that was decoded of `line`, unless the check refuses it.
pub(crate) fn checked<T>(
    value: T,
    check: Option<&Check<T>>,
    line: &[u8],
) -> Result<T, Undecodable> {
    match check.map_or(Ok(()), |check| check(&value)) {
        Ok(()) => Ok(value),
        Err(reason) => Err(undecodable(reason, line)),
    }
}
