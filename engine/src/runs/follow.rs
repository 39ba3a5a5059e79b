//! Following a run of another process: its events as they are appended to the file in its folder.
//!
//! The file is looked at when somebody asks, and opened anew each time, which is when network file systems look again
//! too. Nobody is told that there is more; the caller asks now and then.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{EVENTS, is_running};
use crate::{Record, Result};

/// What is read at a time, but for a line that is longer.
const PIECE: u64 = 1 << 20;

/// Follows the events of a run.
pub struct Follow {
    run: PathBuf,
    /// How much of the file was read: whole lines.
    read: u64,
}

/// What has come since somebody last looked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The records, in their order. None, if nothing has come, or nothing that can be read.
    pub records: Vec<Record>,
    /// Whether the file was cut off or replaced: these are the first records of another story, and those before count
    /// no more.
    pub begins_anew: bool,
    /// Whether nothing more will come: the run's process is gone, and all that it wrote was read.
    pub is_over: bool,
}

/// Follows the run of a folder from its first event on. There need not be any yet.
pub fn follow(run: &Path) -> Follow {
    Follow { run: run.to_path_buf(), read: 0 }
}

impl Follow {
    /// What has come since the last call, at once; of much, a part at a time. Whoever waits for more calls again a little
    /// later, or at once if there were records.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn next_batch(&mut self) -> Result<Batch> {
        // Asked before reading: what was written last is then read.
        let is_running = is_running(&self.run);
        let path = self.run.join(EVENTS);
        let describe = || format!("cannot read {}", path.display());
        let mut file = match File::open(&path) {
            // It may not be there yet; a folder that was taken away does not come back.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Batch { is_over: self.read > 0 && !is_running, ..Batch::default() });
            }
            opened => opened.with_context(describe)?,
        };
        let begins_anew = file.metadata().with_context(describe)?.len() < self.read;
        if begins_anew {
            self.read = 0;
        }
        file.seek(SeekFrom::Start(self.read)).with_context(describe)?;
        let lines = whole_lines(file).with_context(describe)?;
        self.read += lines.len() as u64;
        let records = lines.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        let is_over = lines.is_empty() && !is_running;
        Ok(Batch { records: records.collect(), begins_anew, is_over })
    }
}

/// The lines from here on that have come to their end: some, if there are any.
fn whole_lines(mut file: File) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    loop {
        let before = lines.len();
        file.by_ref().take(PIECE).read_to_end(&mut lines)?;
        let end = lines[before..].iter().rposition(|&byte| byte == b'\n');
        if let Some(end) = end {
            lines.truncate(before + end + 1);
            return Ok(lines);
        }
        if lines.len() == before {
            return Ok(Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write as _;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::runs::{RunFolder, find};
    use crate::{Event, Project};

    fn line(seq: u64, node: &str) -> String {
        let event = Event::NodeQueued { node: node.to_owned() };
        serde_json::to_string(&Record { schema: 1, seq, t: 0.0, event }).unwrap() + "\n"
    }

    fn append(run: &Path, text: &str) {
        let file = OpenOptions::new().create(true).append(true).open(run.join(EVENTS));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        batch.records.iter().map(|record| record.seq).collect()
    }

    #[test]
    fn records_come_when_their_line_has_ended_and_half_of_one_never() {
        let folder = tempfile::tempdir().unwrap();
        let _alive = super::super::alive::Alive::in_folder(folder.path());
        let mut follow = follow(folder.path());
        assert_eq!(follow.next_batch().unwrap(), Batch::default());
        let text = [line(0, "a"), line(1, "é")].concat();
        for byte in text.as_bytes() {
            let file = OpenOptions::new().create(true).append(true).open(folder.path().join(EVENTS));
            file.unwrap().write_all(&[*byte]).unwrap();
            let batch = follow.next_batch().unwrap();
            assert_eq!(batch.records.len(), usize::from(*byte == b'\n'));
            assert!(!batch.is_over && !batch.begins_anew);
        }
        append(folder.path(), &[&line(2, "c"), "no record\n", &line(3, "d"), "{\"schema\""].concat());
        assert_eq!(numbers(&follow.next_batch().unwrap()), [2, 3]);
        assert_eq!(follow.next_batch().unwrap(), Batch::default());
    }

    #[test]
    fn a_file_that_is_cut_off_is_read_from_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let mut follow = follow(folder.path());
        append(folder.path(), &[line(0, "a"), line(1, "b")].concat());
        assert_eq!(numbers(&follow.next_batch().unwrap()), [0, 1]);
        fs::write(folder.path().join(EVENTS), line(0, "c")).unwrap();
        let batch = follow.next_batch().unwrap();
        assert!(batch.begins_anew);
        assert_eq!(numbers(&batch), [0]);
    }

    #[test]
    fn much_comes_in_parts_and_a_long_line_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(3 * PIECE as usize);
        let short: String = (0..20_000).map(|seq| line(seq, "a node")).collect();
        append(folder.path(), &[short, line(20_000, &long)].concat());
        let mut follow = follow(folder.path());
        let (mut batches, mut seen) = (0, Vec::new());
        loop {
            let batch = follow.next_batch().unwrap();
            seen.extend(numbers(&batch));
            batches += 1;
            if batch.is_over {
                break;
            }
        }
        assert_eq!(seen, (0..=20_000).collect::<Vec<_>>());
        assert!((3..9).contains(&batches), "{batches}");
    }

    #[test]
    fn it_is_over_when_the_process_is_gone_and_all_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::at(folder.path());
        let run = RunFolder::create(&project, Path::new("a.ron")).unwrap();
        let path = run.path().to_path_buf();
        append(&path, &line(0, "a"));
        assert_eq!(find(&project, "last").unwrap(), path);
        let mut follow = follow(&path);
        assert!(is_running(&path));
        assert_eq!(numbers(&follow.next_batch().unwrap()), [0]);
        assert!(!follow.next_batch().unwrap().is_over);
        append(&path, &line(1, "b"));
        drop(run);
        assert!(!is_running(&path));
        let batch = follow.next_batch().unwrap();
        assert_eq!((numbers(&batch), batch.is_over), (vec![1], false));
        assert!(follow.next_batch().unwrap().is_over);
        fs::remove_dir_all(&path).unwrap();
        assert!(follow.next_batch().unwrap().is_over);
    }

    /// Set for the process that is killed: the folder that it works in.
    const FOLDER: &str = "FLOW_TEST_FOLLOWED_FOLDER";

    #[test]
    fn a_process_that_is_killed_is_gone() {
        if let Some(folder) = std::env::var_os(FOLDER) {
            let run = RunFolder::create(&Project::at(folder), Path::new("a.ron")).unwrap();
            append(run.path(), &line(0, "a"));
            std::thread::sleep(Duration::from_secs(60));
        }
        let folder = tempfile::tempdir().unwrap();
        let this = std::thread::current().name().unwrap_or_default().to_owned();
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", &this]).env(FOLDER, folder.path());
        let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
        let project = Project::at(folder.path());
        let end = Instant::now() + Duration::from_secs(20);
        while find(&project, "last").is_err() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let run = find(&project, "last").unwrap();
        let was_running = is_running(&run);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(was_running && !is_running(&run));
        assert!(run.join(super::super::RUNNING).exists());
    }
}
