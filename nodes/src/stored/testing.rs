//! What holds for every value that is stored, for the tests of each.

use std::borrow::Cow;

use flow_engine::{Result, StoredFile, Value};

/// The files of a value, as the store reads them.
pub(crate) fn files<T: Value>(value: &T) -> Vec<StoredFile<'static>> {
    let files = value.to_files().unwrap().expect("a value that is stored");
    let owned = |file: StoredFile<'_>| StoredFile::new(file.name, Cow::Owned(file.bytes.into_owned()));
    files.into_iter().map(owned).collect()
}

/// The value that comes back; its digest and its files are those that it had.
pub(crate) fn back<T: Value>(value: &T) -> T {
    let back = T::from_files(files(value)).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(back.digest(), value.digest());
    assert!(files(&back) == files(value), "other files");
    back
}

/// Damages the files of a value in many ways. What is missing, doubled, foreign or cut short is refused; another byte
/// is refused too, or gives a value that is told from the first, or the same one.
pub(crate) fn survives_damage<T: Value>(value: &T) {
    let whole = files(value);
    let refused = |files: Vec<StoredFile<'static>>| {
        let error = T::from_files(files).err().expect("a refusal");
        assert!(!error.to_string().is_empty());
    };
    refused(Vec::new());
    refused([whole.clone(), vec![StoredFile::new("notes.txt", Vec::new())]].concat());
    for at in 0..whole.len() {
        let mut less = whole.clone();
        less.remove(at);
        refused(less);
        refused([whole.clone(), vec![whole[at].clone()]].concat());
        let with = |bytes: Vec<u8>| {
            let mut other = whole.clone();
            other[at].bytes = bytes.into();
            other
        };
        let bytes = &whole[at].bytes;
        for foreign in [&b""[..], b"{}", b"[]", b"null", &[0xff; 64], b"\x89PNG\r\n\x1a\n"] {
            refused(with(foreign.to_vec()));
        }
        for end in places(bytes.len() - 1) {
            let _: Result<T> = T::from_files(with(bytes[..end].to_vec()));
        }
        refused(with(bytes[..bytes.len() / 2].to_vec()));
        for place in places(bytes.len()) {
            for flip in [0x01, 0x80, 0xff] {
                let mut other = bytes.to_vec();
                other[place] ^= flip;
                let _: Result<T> = T::from_files(with(other));
            }
        }
    }
}

/// Many places below `length`: all of the first ones, where headers are, and some behind.
fn places(length: usize) -> impl Iterator<Item = usize> {
    let dense = length.min(400);
    (0..dense).chain((dense..length).step_by((length / 100).max(1)))
}
