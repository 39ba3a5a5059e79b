//! What a training goes on from: one file under a name of its own for each, the last two kept.
//!
//! A file holds the parameters, the optimizer's means, the smoothed parameters, and in its metadata the step, the key of
//! the training and a checksum. It is written under another name, synced and renamed, so that a training that is killed
//! finds the last one whole; one that is damaged all the same is passed over for the one before.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Tensor;
use flow_engine::{Digest, Problem, Result, file};

use crate::sdxl::files::WeightFiles;
use crate::sdxl::write::write_all;

/// Raised when the form of these files changes.
const FORMAT: &str = "2";
/// Under which name a file has its checksum.
const CHECKSUM: &str = "checksum";
/// How many are kept.
const GENERATIONS: usize = 2;

/// Where a training stands.
#[derive(Debug, Clone)]
pub struct State {
    /// Steps that were taken.
    pub step: usize,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Numbers by name.
    pub numbers: BTreeMap<String, f64>,
}

/// The states of one training.
#[derive(Debug, Clone)]
pub struct States {
    folder: PathBuf,
    key: Digest,
}

impl States {
    /// In a folder; `key` is everything that decides the training but for its number of steps.
    pub fn new(folder: PathBuf, key: Digest) -> Self {
        Self { folder, key }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a state, and takes older ones away; gives its file.
    ///
    /// # Errors
    /// A full disk; what was there then stays.
    pub fn save(&self, state: &State) -> Result<PathBuf> {
        let numbers = state.numbers.iter().map(|(name, number)| (name.clone(), number.to_bits().to_string()));
        let mut says: BTreeMap<String, String> = numbers.collect();
        says.insert("format".into(), FORMAT.into());
        says.insert("key".into(), self.key.to_string());
        says.insert("step".into(), state.step.to_string());
        says.insert(CHECKSUM.into(), checksum(&state.tensors, &says)?.to_string());
        fs::create_dir_all(&self.folder)?;
        let path = self.folder.join(format!("step-{:08}.safetensors", state.step));
        file::write_with(&path, |file| write_all(file, &state.tensors, &says))?;
        // Those behind this one are of a training with more steps, or damaged.
        let up_to_here = self.files().into_iter().rev().filter(|file| *file <= path);
        for old in up_to_here.skip(GENERATIONS).chain(self.left_over()) {
            // What cannot be taken away does no harm.
            let _ = fs::remove_file(old);
        }
        Ok(path)
    }

    /// The last whole state that has at most so many steps, and what is wrong with those behind it.
    pub fn last(&self, most: usize) -> (Option<State>, Vec<String>) {
        let mut wrong = Vec::new();
        for path in self.files().into_iter().rev() {
            match self.read(&path) {
                Ok(state) if state.step <= most => return (Some(state), wrong),
                Ok(_) => {}
                Err(error) => wrong.push(format!("{}: {error:#}", path.display())),
            }
        }
        (None, wrong)
    }

    fn read(&self, path: &Path) -> Result<State> {
        let files = WeightFiles::open_file(path)?;
        let says = files.metadata().clone();
        let said = |name: &str| says.get(name).map_or("", String::as_str);
        if said("format") != FORMAT {
            return Err(Problem::new("it was written by another version of Flow").into());
        }
        if said("key") != self.key.to_string() {
            return Err(Problem::new("it is of another training").into());
        }
        let names: Vec<String> = files.shapes().map(|(name, _)| name.to_owned()).collect();
        let tensors = names.into_iter().map(|name| Ok((name.clone(), files.read(&name)?)));
        let tensors: BTreeMap<String, Tensor> = tensors.collect::<Result<_>>()?;
        let mut summed = says.clone();
        summed.remove(CHECKSUM);
        if said(CHECKSUM) != checksum(&tensors, &summed)?.to_string() {
            return Err(Problem::new("it is damaged").into());
        }
        let step = said("step").parse().map_err(|_| Problem::new("it does not say its step"))?;
        let number =
            |(name, bits): (&String, &String)| Some((name.clone(), f64::from_bits(bits.parse().ok()?)));
        let fixed = ["format", "key", "step", CHECKSUM];
        let numbers = says.iter().filter(|(name, _)| !fixed.contains(&name.as_str())).filter_map(number);
        Ok(State { step, numbers: numbers.collect(), tensors })
    }

    /// What writes that were killed left behind, an hour ago or more.
    fn left_over(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_left_over = |entry: &fs::DirEntry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
            let is_old = matches!(age, Ok(Ok(age)) if age > Duration::from_secs(3600));
            name.starts_with(".flow-") && name.ends_with(".tmp") && is_old
        };
        entries.filter(is_left_over).map(|entry| entry.path()).collect()
    }

    /// The files, the oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_state = |path: &PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("step-") && name.ends_with(".safetensors")
        };
        let mut files: Vec<_> = entries.filter(is_state).collect();
        files.sort();
        files
    }
}

/// A checksum of everything in a file but itself.
fn checksum(tensors: &BTreeMap<String, Tensor>, says: &BTreeMap<String, String>) -> Result<Digest> {
    let mut parts = vec![Digest::of(format!("{says:?}").as_bytes())];
    for (name, tensor) in tensors {
        parts.push(Digest::of(format!("{name} {:?}", tensor.dims()).as_bytes()));
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        parts.push(Digest::of(&bytes));
    }
    Ok(Digest::of_parts(parts.iter().map(|digest| &digest.as_bytes()[..])))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn state(step: usize) -> State {
        let tensor = Tensor::new(&[step as f32, 0.1, -0.0], &Device::Cpu).unwrap();
        State { step, tensors: [("a".to_owned(), tensor)].into(), numbers: [("loss".to_owned(), 0.1)].into() }
    }

    fn states(folder: &Path, key: &[u8]) -> States {
        States::new(folder.join("train"), Digest::of(key))
    }

    #[test]
    fn the_last_two_are_kept_and_the_last_is_gone_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let states = states(folder.path(), b"a");
        assert!(states.last(100).0.is_none());
        for step in [1, 2, 10] {
            states.save(&state(step)).unwrap();
        }
        assert_eq!(states.files().len(), 2);
        let (last, wrong) = states.last(100);
        let last = last.unwrap();
        assert_eq!((last.step, last.numbers["loss"], wrong.len()), (10, 0.1, 0));
        assert_eq!(last.tensors["a"].to_vec1::<f32>().unwrap(), [10.0, 0.1, -0.0]);
        assert_eq!(states.last(9).0.unwrap().step, 2);
        // A training of fewer steps keeps its own.
        states.save(&state(1)).unwrap();
        assert_eq!(states.last(1).0.unwrap().step, 1);
        assert_eq!(states.last(100).0.unwrap().step, 10);
    }

    #[test]
    fn a_damaged_one_is_passed_over_and_one_of_another_training_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let own = states(folder.path(), b"a");
        own.save(&state(1)).unwrap();
        own.save(&state(2)).unwrap();
        let newest = own.files().pop().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&newest, bytes).unwrap();
        let (last, wrong) = own.last(100);
        assert_eq!(last.unwrap().step, 1);
        assert!(wrong[0].ends_with("it is damaged"), "{wrong:?}");
        let (none, wrong) = states(folder.path(), b"b").last(100);
        assert!(none.is_none() && wrong.iter().all(|why| why.contains("another training")), "{wrong:?}");
    }
}
