//! Which keys have a result, from one small log instead of a file for each: 100,000 look-ups
//! without touching the disk.
//!
//! It is a hint. A key that it does not know may still have a result, and one that it knows may
//! have lost it: the entries themselves decide.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::log::Log;
use crate::{Digest, Result};

/// Bytes of a record: key, digest, bytes, time, flags.
const RECORD: usize = 32 + 32 + 8 + 8 + 1;
/// The flags of a record.
const IS_GONE: u8 = 1;
const HAS_FILES: u8 = 2;
const WARNS: u8 = 4;

/// What is known of a stored result without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// The digest of the value.
    pub digest: Digest,
    /// The size of its files; none for a value that is made again rather than stored.
    pub bytes: Option<u64>,
    /// Whether a person was told something while it was made, which the entry holds.
    pub warns: bool,
}

/// The index of a store.
pub(super) struct Index {
    log: Log<RECORD>,
    rows: HashMap<Digest, Row>,
}

#[derive(Clone, Copy)]
struct Row {
    /// None for a result that was taken out.
    found: Option<Found>,
    /// Nanoseconds since 1970: the latest row of a key counts.
    time: u64,
}

impl Index {
    pub fn open(folder: PathBuf) -> Self {
        let (log, records) = Log::open(folder);
        let mut rows: HashMap<Digest, Row> = HashMap::with_capacity(records.len());
        for (key, row) in records.iter().map(read) {
            let known = rows.entry(key).or_insert(row);
            if known.time < row.time {
                *known = row;
            }
        }
        let index = Self { log, rows };
        if index.log.is_scattered() {
            // The next reader tries again.
            let _ = index.merge();
        }
        index
    }

    pub fn get(&self, key: &Digest) -> Option<Found> {
        self.rows.get(key).and_then(|row| row.found)
    }

    /// Notes what an entry says, for this process alone.
    pub fn note(&mut self, key: Digest, found: Found) {
        self.rows.insert(key, Row { found: Some(found), time: now() });
    }

    /// Notes that a result is there, or that it is gone, for every process.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn set(&mut self, key: Digest, found: Option<Found>) -> Result<()> {
        let row = Row { found, time: now() };
        self.rows.insert(key, row);
        Ok(self.log.append(&written(&key, &row))?)
    }

    /// Leaves one record of each key that has a result.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn merge(&self) -> Result<()> {
        let kept = self.rows.iter().filter(|(_, row)| row.found.is_some());
        let records: Vec<_> = kept.map(|(key, row)| written(key, row)).collect();
        Ok(self.log.merge(records.iter())?)
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn written(key: &Digest, row: &Row) -> [u8; RECORD] {
    let digest = row.found.map_or([0; 32], |found| *found.digest.as_bytes());
    let bytes = row.found.and_then(|found| found.bytes);
    let warns = row.found.is_some_and(|found| found.warns);
    let flag = |flag, is_set| if is_set { flag } else { 0 };
    let flags = flag(IS_GONE, row.found.is_none()) | flag(HAS_FILES, bytes.is_some()) | flag(WARNS, warns);
    let mut record = [0; RECORD];
    record[..32].copy_from_slice(key.as_bytes());
    record[32..64].copy_from_slice(&digest);
    record[64..72].copy_from_slice(&bytes.unwrap_or_default().to_le_bytes());
    record[72..80].copy_from_slice(&row.time.to_le_bytes());
    record[80] = flags;
    record
}

fn read(record: &[u8; RECORD]) -> (Digest, Row) {
    let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| record[at + byte]));
    let digest = |at: usize| Digest::from_bytes(std::array::from_fn(|byte| record[at + byte]));
    let bytes = (record[80] & HAS_FILES != 0).then(|| number(64));
    let warns = record[80] & WARNS != 0;
    let found = (record[80] & IS_GONE == 0).then(|| Found { digest: digest(32), bytes, warns });
    (digest(0), Row { found, time: number(72) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_finds_what_was_set_and_not_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        let found = |bytes| Found { digest: Digest::of(b"value"), bytes, warns: true };
        let mut index = Index::open(folder.path().to_path_buf());
        index.set(a, Some(found(Some(7)))).unwrap();
        index.set(b, Some(found(None))).unwrap();
        index.set(b, None).unwrap();
        index.note(c, found(None));
        let again = Index::open(folder.path().to_path_buf());
        assert_eq!([a, b, c].map(|key| again.get(&key)), [Some(found(Some(7))), None, None]);
        again.merge().unwrap();
        let merged = Index::open(folder.path().to_path_buf());
        assert_eq!(merged.get(&a), Some(found(Some(7))));
        assert_eq!(index.get(&c), Some(found(None)));
    }
}
