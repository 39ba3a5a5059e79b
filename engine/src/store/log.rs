//! Small records that several processes add to and all of them read, without a lock.
//!
//! A log is a folder of segments. Every process appends to a segment of its own, so no two ever
//! write to one file, on a shared file system either. A record carries a checksum: a torn or
//! damaged one is passed over. What a log holds can always be found out in another way, so losing
//! a record costs time and nothing else.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::file::Temporary;

/// Bytes of the checksum after each record.
const CHECK: usize = 8;
/// With more segments than this, a reader merges those that nobody writes to any more.
const MOST_SEGMENTS: usize = 64;
/// A segment that was not written to for so long has no writer.
const QUIET: Duration = Duration::from_secs(3600);
/// The ending of a segment's name.
const ENDING: &str = "log";

/// A log of records of `N` bytes.
pub(crate) struct Log<const N: usize> {
    folder: PathBuf,
    own: Option<File>,
}

impl<const N: usize> Log<N> {
    /// The log in a folder, which need not exist, and its records, roughly in the order in which they were added: segments
    /// by the time of their first record.
    pub fn open(folder: PathBuf) -> (Self, Vec<[u8; N]>) {
        let segments = segments(&folder);
        let texts: Vec<_> = segments.iter().filter_map(|path| fs::read(path).ok()).collect();
        let records: Vec<_> = texts.iter().flat_map(|text| records(text)).collect();
        (Self { folder, own: None }, records)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn append(&mut self, record: &[u8; N]) -> io::Result<()> {
        let own = match &mut self.own {
            Some(own) => own,
            none => none.insert(new_segment(&self.folder)?),
        };
        let written = own.write_all(&sealed(record));
        if written.is_err() {
            // A part of the record may be there, and whatever came behind it would be read amiss.
            self.own = None;
        }
        written
    }

    /// Whether so many segments are left from ended processes that merging them pays.
    pub fn is_scattered(&self) -> bool {
        segments(&self.folder).len() > MOST_SEGMENTS
    }

    /// Puts these records, which are all that matter, in the place of the segments that nobody
    /// writes to any more.
    ///
    /// # Errors
    /// A folder that cannot be written to; the log is then as it was.
    pub fn merge<'a>(&self, all: impl Iterator<Item = &'a [u8; N]>) -> io::Result<()> {
        let old: Vec<_> = segments(&self.folder).into_iter().filter(|path| is_quiet(path)).collect();
        let text: Vec<u8> = all.flat_map(sealed).collect();
        let merged = segment_path(&self.folder);
        let (mut file, temporary) = Temporary::beside(&merged)?;
        file.write_all(&text)?;
        temporary.becomes(&merged)?;
        for path in old {
            // Another process may have merged it as well.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut segments: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == ENDING)).collect();
    // Their names begin with a time.
    segments.sort();
    segments
}

fn is_quiet(path: &Path) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > QUIET))
}

/// A name that no other process takes.
fn segment_path(folder: &Path) -> PathBuf {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    folder.join(format!("{time:032x}-{}.{ENDING}", std::process::id()))
}

fn new_segment(folder: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    loop {
        match OpenOptions::new().append(true).create_new(true).open(segment_path(folder)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => return opened,
        }
    }
}

/// A record with its checksum.
fn sealed<const N: usize>(record: &[u8; N]) -> Vec<u8> {
    let mut bytes = record.to_vec();
    bytes.extend_from_slice(&blake3::hash(record).as_bytes()[..CHECK]);
    bytes
}

/// The records of a segment that are whole.
fn records<const N: usize>(text: &[u8]) -> impl Iterator<Item = [u8; N]> {
    text.chunks_exact(N + CHECK).filter_map(|sealed| {
        let (record, check) = sealed.split_first_chunk::<N>()?;
        (blake3::hash(record).as_bytes()[..CHECK] == *check).then_some(*record)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_writers_add_is_read_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let (mut a, none) = Log::<4>::open(folder.path().join("log"));
        assert!(none.is_empty());
        let (mut b, _) = Log::<4>::open(folder.path().join("log"));
        a.append(b"aaaa").unwrap();
        b.append(b"bbbb").unwrap();
        a.append(b"cccc").unwrap();
        let mut records = Log::<4>::open(folder.path().join("log")).1;
        records.sort();
        assert_eq!(records, [*b"aaaa", *b"bbbb", *b"cccc"]);
    }

    #[test]
    fn a_torn_and_a_damaged_record_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::<4>::open(folder.path().to_path_buf());
        for record in [b"aaaa", b"bbbb", b"cccc"] {
            log.append(record).unwrap();
        }
        let path = segments(folder.path()).remove(0);
        let mut text = fs::read(&path).unwrap();
        text[13] ^= 1;
        text.truncate(text.len() - 1);
        fs::write(&path, text).unwrap();
        assert_eq!(Log::<4>::open(folder.path().to_path_buf()).1, [*b"aaaa"]);
    }

    #[test]
    fn merging_keeps_the_segments_that_may_still_grow() {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = Log::<4>::open(folder.path().to_path_buf());
        log.append(b"aaaa").unwrap();
        let old = segments(folder.path()).remove(0);
        let past = SystemTime::now() - 2 * QUIET;
        File::options().append(true).open(&old).unwrap().set_modified(past).unwrap();
        let (mut young, records) = Log::<4>::open(folder.path().to_path_buf());
        young.append(b"bbbb").unwrap();
        young.merge(records.iter()).unwrap();
        assert!(!old.exists());
        young.append(b"cccc").unwrap();
        let mut records = Log::<4>::open(folder.path().to_path_buf()).1;
        records.sort();
        assert_eq!(records, [*b"aaaa", *b"bbbb", *b"cccc"]);
    }
}
