//! Checking everything that is kept.

use std::collections::BTreeMap;

use super::checkpoints::Checkpoints;
use super::entry::Entry;
use super::error::CheckpointError;
use super::groups::KeyGroups;
use super::manifest::Epoch;

/// What has been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Checkpoints, savepoints included.
    pub checkpoints: usize,
    /// Parts that they name.
    pub parts: usize,
    /// The size of the parts.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<String>,
}

impl Checkpoints {
    /// Reads everything that a kept checkpoint or a savepoint names, and tells what is wrong: the name of
    /// the file, what is wrong with it, and the remedy.
    ///
    /// # Errors
    /// When the store cannot be used; damage is no error here.
    pub fn verify(&self) -> Result<Verified, CheckpointError> {
        let mut verified = Verified::default();
        self.verify_into(&mut verified)?;
        for name in self.savepoint_names()? {
            self.within_savepoint(&name)?.verify_into(&mut verified)?;
        }
        Ok(verified)
    }

    fn verify_into(&self, verified: &mut Verified) -> Result<(), CheckpointError> {
        let log = self.log();
        let numbers = log.numbers()?;
        // The whole log first, as a restart would read it: it knows what must be there.
        let kept = noted(verified, self.list())?;
        let oldest = kept.as_ref().and_then(|kept| kept.first());
        let oldest = oldest.map_or(Epoch(0), |oldest| oldest.epoch);
        let mut parts = BTreeMap::new();
        for number in numbers.into_iter().rev() {
            // What has been deleted meanwhile is no longer kept.
            match noted(verified, log.read(number))?.flatten() {
                Some(Entry::Manifest(manifest)) if manifest.epoch >= oldest => {
                    verified.checkpoints += 1;
                    let named = manifest.parts().cloned();
                    parts.extend(named.map(|part| (part.file.clone(), part)));
                }
                _ => {}
            }
        }
        for part in parts.values() {
            verified.parts += 1;
            verified.bytes += part.bytes;
            noted(verified, self.read_part(part, KeyGroups::ALL))?;
        }
        Ok(())
    }
}

/// Notes what is wrong with a file; trouble with the store remains an error.
fn noted<T>(
    verified: &mut Verified,
    result: Result<T, CheckpointError>,
) -> Result<Option<T>, CheckpointError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ CheckpointError::Store { .. }) => Err(error),
        Err(error) => {
            let problem = error.to_string();
            if !verified.problems.contains(&problem) {
                verified.problems.push(problem);
            }
            Ok(None)
        }
    }
}
