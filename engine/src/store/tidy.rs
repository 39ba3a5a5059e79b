//! Looking after a store: what is in it, whether it is whole, what nobody needs any more.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Entry, Store, remove};
use crate::{Digest, Result};

/// What was written within this time may be part of a result that is just being filed.
const SETTLED: Duration = Duration::from_secs(3600);

/// One result of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What is known of it.
    pub entry: Entry,
    /// When it was made or last used.
    pub used: SystemTime,
}

/// What a sweep takes out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep {
    /// Results that were not used for so long.
    pub older_than: Option<Duration>,
    /// As many as it takes to bring all files down to this size, those used least recently first.
    pub max_bytes: Option<u64>,
    /// Only count.
    pub dry_run: bool,
}

/// What a sweep took out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Results.
    pub entries: usize,
    /// Files that no result names any more, or that were never finished.
    pub files: usize,
    /// What they held.
    pub bytes: u64,
    /// What is left.
    pub bytes_left: u64,
}

/// What looking at every byte showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Results that are whole.
    pub whole: usize,
    /// The damaged ones, which were taken out: the file, and what is wrong.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Store {
    /// Every result, latest first. Damaged entries are left out.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |path: PathBuf| {
            let used = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
            let entry = Entry::from_text(&fs::read_to_string(&path).ok()?).ok()?;
            Some(Listed { entry, used })
        };
        let mut all: Vec<_> = self.entry_files().into_iter().filter_map(listed).collect();
        all.sort_by_key(|listed| std::cmp::Reverse((listed.used, listed.entry.key)));
        all
    }

    /// Reads every byte, and takes out what is damaged: it is made again when it is needed.
    ///
    /// # Errors
    /// A store that cannot be written to.
    pub fn verify(&self, mut progress: impl FnMut(usize, usize) -> Result<()>) -> Result<Verified> {
        let mut verified = Verified::default();
        let mut checked: BTreeMap<Digest, bool> = BTreeMap::new();
        let entries = self.entry_files();
        for (index, path) in entries.iter().enumerate() {
            progress(index, entries.len())?;
            match self.fault(path, &mut checked) {
                None => verified.whole += 1,
                Some(fault) => {
                    match key_of(path) {
                        Some(key) => self.forget(&key)?,
                        None => remove(path)?,
                    }
                    verified.damaged.push((path.clone(), fault));
                }
            }
        }
        progress(entries.len(), entries.len())?;
        Ok(verified)
    }

    /// What is wrong with an entry or its files, if anything.
    fn fault(&self, path: &Path, checked: &mut BTreeMap<Digest, bool>) -> Option<String> {
        let Some(key) = key_of(path) else { return Some("its name is no key".to_owned()) };
        let entry = match self.entry(&key) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Some("it is gone".to_owned()),
            Err(error) => return Some(error.root_cause().to_string()),
        };
        let mut is_whole =
            |digest: &Digest| *checked.entry(*digest).or_insert_with(|| self.read(digest).is_ok());
        let mut files = entry.files.iter().flatten().map(|file| file.digest);
        let damaged = files.find(|digest| !is_whole(digest))?;
        Some(format!("its file {} is damaged or gone", damaged.short()))
    }

    /// Takes out what nobody needs.
    ///
    /// # Errors
    /// A store that cannot be written to.
    pub fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        let mut swept = Swept::default();
        let (mut named, mut released): (HashSet<Digest>, HashSet<Digest>) = Default::default();
        let mut bytes_kept = 0;
        let mut is_full = false;
        let started = SystemTime::now();
        for listed in self.list() {
            let files = listed.entry.files.iter().flatten();
            let new_bytes: u64 =
                files.clone().filter(|file| !named.contains(&file.digest)).map(|file| file.bytes).sum();
            let age = listed.used.elapsed().unwrap_or_default();
            let is_old = sweep.older_than.is_some_and(|limit| age > limit);
            // Once one does not fit, what is older goes as well.
            is_full |= sweep.max_bytes.is_some_and(|limit| bytes_kept + new_bytes > limit);
            let path = self.entry_path(&listed.entry.key);
            let is_too_much = is_full && new_bytes > 0;
            if (is_old || is_too_much) && !is_used_since(&path, started) {
                swept.entries += 1;
                released.extend(files.map(|file| file.digest));
                if !sweep.dry_run {
                    remove(&path)?;
                    self.index().set(listed.entry.key, None)?;
                }
            } else {
                bytes_kept += new_bytes;
                named.extend(files.map(|file| file.digest));
            }
        }
        released.retain(|digest| !named.contains(digest));
        self.sweep_files(sweep, started, &named, &released, &mut swept)?;
        if !sweep.dry_run && self.root().join("index").is_dir() {
            self.index().merge()?;
        }
        Ok(swept)
    }

    /// Takes out the files that no entry names, and those that a crash left unfinished.
    fn sweep_files(
        &self,
        sweep: Sweep,
        started: SystemTime,
        named: &HashSet<Digest>,
        released: &HashSet<Digest>,
        swept: &mut Swept,
    ) -> Result<()> {
        for path in files_below(&self.root().join("files")).into_iter().chain(self.unfinished_entries()) {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let is_in =
                |digests: &HashSet<Digest>| key_of(&path).is_some_and(|digest| digests.contains(&digest));
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            let may_be_under_way = (age < SETTLED && !is_in(released)) || is_used_since(&path, started);
            if is_in(named) || may_be_under_way {
                swept.bytes_left += metadata.len();
                continue;
            }
            swept.files += 1;
            swept.bytes += metadata.len();
            if !sweep.dry_run {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn entry_files(&self) -> Vec<PathBuf> {
        let all = files_below(&self.root().join("entries"));
        all.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
    }

    fn unfinished_entries(&self) -> Vec<PathBuf> {
        let all = files_below(&self.root().join("entries"));
        all.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "tmp")).collect()
    }
}

/// Whether somebody has written or touched a file since a time.
fn is_used_since(path: &Path, time: SystemTime) -> bool {
    fs::metadata(path).and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified >= time)
}

/// The digest that a file is named for.
fn key_of(path: &Path) -> Option<Digest> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// The files two levels below a folder, in order.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let within = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    };
    let mut files: Vec<_> = within(folder).iter().flat_map(|shard| within(shard)).collect();
    files.sort();
    files
}
