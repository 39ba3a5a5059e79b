//! Numbers over the steps, as TensorBoard reads them.
//!
//! An event file is a row of records, `length · masked crc of the length · event · masked crc of the event`, and an
//! event is a protobuf message (tensorboard/compat/proto/event.proto); the few fields that curves need are written here.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flow_engine::Result;

/// An event file, which is begun with the first numbers.
#[derive(Debug)]
pub struct Scalars {
    folder: PathBuf,
    file: Option<File>,
}

impl Scalars {
    /// A new file in `folder`. From its first step on, TensorBoard shows it in the place of earlier files.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), file: None }
    }

    /// Writes numbers of a step, by their names.
    ///
    /// # Errors
    /// A folder that takes no files, a full disk.
    pub fn write(&mut self, step: usize, numbers: &[(&str, f64)]) -> Result<()> {
        if self.file.is_none() {
            self.file = Some(begun(&self.folder, step)?);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        Ok(file.write_all(&record(&summary(now(), step, numbers)))?)
    }
}

/// A file whose first numbers will be those of `step`.
fn begun(folder: &Path, step: usize) -> Result<File> {
    fs::create_dir_all(folder)?;
    let now = now();
    let name = format!("events.out.tfevents.{:020}.{}.flow", (now * 1e6) as u64, std::process::id());
    let mut file = File::create_new(folder.join(name))?;
    file.write_all(&record(&version(now)))?;
    file.write_all(&record(&start(now, step)))?;
    Ok(file)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), event, &masked(event)].concat()
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// The event that a file begins with.
fn version(time: f64) -> Vec<u8> {
    [at(time, 0), field(3, b"brain.Event:2")].concat()
}

/// The event that a training begins with, or goes on with: what earlier files say of this step and later ones is void.
fn start(time: f64, step: usize) -> Vec<u8> {
    const STATUS_START: [u8; 2] = [1 << 3, 1];
    [at(time, step), field(7, &STATUS_START)].concat()
}

fn summary(time: f64, step: usize, numbers: &[(&str, f64)]) -> Vec<u8> {
    const SIMPLE_VALUE: u8 = 2 << 3 | 5;
    let value = |&(name, number): &(&str, f64)| {
        let number = (number as f32).to_le_bytes();
        field(1, &[&field(1, name.as_bytes())[..], &[SIMPLE_VALUE], &number].concat())
    };
    [at(time, step), field(5, &numbers.iter().flat_map(value).collect::<Vec<_>>())].concat()
}

/// The fields of every event: when, and at which step.
fn at(time: f64, step: usize) -> Vec<u8> {
    const WALL_TIME: u8 = 1 << 3 | 1;
    const STEP: u8 = 2 << 3;
    let mut event = [&[WALL_TIME][..], &time.to_le_bytes()].concat();
    if step > 0 {
        event.push(STEP);
        event.extend(varint(step));
    }
    event
}

/// A field that has a length.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len()), bytes].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of tensorboard 2.21's own writer for the same three events.
    #[test]
    fn events_are_written_as_tensorboard_writes_them() {
        let expected = [
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c",
            "100000000000000095fbfe1809000000000000f83f10ac023a020801713b788a",
            "31000000000000009d8383e909000000000000024010ac022a230a0b0a046c6f737315cdcccc3d0a140a0d6c6561726e696e675f\
             72617465156f12833ab95cac3b",
        ];
        let events =
            [version(1.5), start(1.5, 300), summary(2.25, 300, &[("loss", 0.1), ("learning_rate", 1e-3)])];
        for (event, expected) in events.iter().zip(expected) {
            let found: String = record(event).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_part_of_a_training_has_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        for first in [1, 6] {
            let mut scalars = Scalars::new(folder.path());
            for step in [first, first + 1] {
                scalars.write(step, &[("loss", 1.0)]).unwrap();
            }
        }
        let sizes = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
        assert_eq!(sizes.filter(|&size| size > 100).count(), 2);
    }
}
