//! The weight files of one part of a model: found, mapped, read by header, and converted tensor by tensor.
//!
//! Opening looks at names, shapes and sizes only. Values are read when a tensor is asked for, and are checked then.
//!
//! Nothing here knows which tensors a network wants.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};
use half::f16;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::config::read_json;
use super::damage::{absent, damaged, is_pickle, pickle};
use super::mapped::{Bytes, MappedFile, map};
pub(crate) use super::numbers::READ_TYPES;
use super::numbers::{largest, weight_dtype};
use super::widen::widen;
use crate::ops::Weight;

/// The safetensors files of one part, as one table of tensors.
#[derive(Debug, Clone)]
pub struct WeightFiles {
    path: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
}

/// A tensor inside a mapped file.
#[derive(Debug, Clone)]
struct Stored {
    file: Arc<MappedFile>,
    start: usize,
    end: usize,
    shape: Vec<usize>,
    dtype: Dtype,
    /// Whether its bytes are those of its transpose.
    transposed: bool,
}

/// How much of a stored tensor is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// All of it.
    Whole,
    /// The first, second or last third of its rows (0, 1 or 2).
    Third(usize),
    /// The transpose of a matrix.
    Transposed,
}

impl Stored {
    /// A view of the same bytes.
    fn take(&self, take: Take) -> Self {
        let mut view = self.clone();
        match take {
            Take::Whole => {}
            Take::Third(i) => {
                let bytes = (self.end - self.start) / 3;
                view.start += i * bytes;
                view.end = view.start + bytes;
                view.shape[0] /= 3;
            }
            Take::Transposed => {
                view.shape.reverse();
                view.transposed = !self.transposed;
            }
        }
        view
    }
}

/// `*.safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Finds and opens `{stem}.safetensors` in `folder`: full precision before fp16, whole before sharded. Shards that
    /// are not all there, as an interrupted download leaves them, are taken only if there is nothing else.
    ///
    /// # Errors
    /// No safetensors, files that are damaged or are no safetensors, types that are no weights.
    pub fn open(folder: &Path, stem: &str) -> Result<Self> {
        const FORMS: [&str; 5] = [
            "safetensors",
            "safetensors.index.json",
            "fp16.safetensors",
            "fp16.safetensors.index.json",
            "safetensors.index.fp16.json",
        ];
        let is_index = |file: &Path| file.extension().is_some_and(|e| e == "json");
        let files = FORMS.map(|form| folder.join(format!("{stem}.{form}")));
        let there: Vec<_> = files.into_iter().filter(|file| file.is_file()).collect();
        let complete = there.iter().find(|file| !is_index(file) || has_all_shards(folder, file));
        match complete.or(there.first()) {
            Some(index) if is_index(index) => Self::from_index(folder, index.clone()),
            Some(whole) => Self::from_files(folder, vec![whole.clone()]),
            None => Err(absent(folder, stem).into()),
        }
    }

    fn from_index(folder: &Path, index: PathBuf) -> Result<Self> {
        let ShardIndex { weight_map } = read_json(&index)?;
        let shards: BTreeSet<&String> = weight_map.values().collect();
        if let Some(outside) = shards.iter().find(|shard| shard.contains(['/', '\\'])) {
            let message =
                format!("`{}` names the shard `{outside}`, which is not in its folder", index.display());
            return Err(Problem::new(message).into());
        }
        let mut this =
            Self::from_files(folder, shards.into_iter().map(|shard| folder.join(shard)).collect())?;
        let absent: Vec<_> =
            weight_map.keys().filter(|name| !this.tensors.contains_key(*name)).cloned().collect();
        if !absent.is_empty() {
            let message =
                format!("`{}` lists tensors that no shard has: {}", index.display(), absent.join(", "));
            return Err(Problem::new(message).hint("download the shards again").into());
        }
        this.files.insert(0, index);
        Ok(this)
    }

    /// Opens one file, whatever is in it.
    ///
    /// # Errors
    /// A file that is damaged or is no safetensors.
    pub fn open_file(file: &Path) -> Result<Self> {
        if is_pickle(file) {
            return Err(pickle(file).into());
        }
        Self::from_files(file, vec![file.to_owned()])
    }

    /// The bytes of a safetensors file that was never on disk; errors call it `name`.
    ///
    /// # Errors
    /// Bytes that are no safetensors.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self> {
        Self::from_copy(Path::new(name), Vec::new(), bytes)
    }

    /// The bytes of a safetensors file that was read from `files`, at `path`.
    ///
    /// # Errors
    /// Bytes that are no safetensors.
    pub(crate) fn from_copy(path: &Path, files: Vec<PathBuf>, bytes: Vec<u8>) -> Result<Self> {
        let (stored, metadata) = tensors_of(path, Bytes::Held(bytes))?;
        Ok(Self { path: path.to_owned(), files, tensors: stored.into_iter().collect(), metadata })
    }

    fn from_files(path: &Path, files: Vec<PathBuf>) -> Result<Self> {
        let (mut tensors, mut metadata) = (BTreeMap::new(), BTreeMap::new());
        for file in &files {
            let (stored, says) = tensors_of(file, map(file)?)?;
            metadata.extend(says);
            for (name, stored) in stored {
                if let Some(other) = tensors.insert(name.clone(), stored) {
                    let (one, other) = (other.file.path.display(), file.display());
                    return Err(Problem::new(format!("`{name}` is in both `{one}` and `{other}`")).into());
                }
            }
        }
        Ok(Self { path: path.to_owned(), files, tensors, metadata })
    }

    /// The folder they are in, or the one file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file, the index of shards among them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Names and shapes, in order of name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
    }

    /// What the files say of themselves (`__metadata__`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The whole file, if it is one and was never on disk.
    pub(crate) fn made_bytes(&self) -> Option<&[u8]> {
        self.one_file().filter(|_| self.files.is_empty())
    }

    /// The bytes of the file that all tensors are in, if it is one.
    pub(crate) fn one_file(&self) -> Option<&[u8]> {
        let file = &self.tensors.values().next()?.file;
        let is_only = self.files.len() <= 1 && self.tensors.values().all(|one| Arc::ptr_eq(&one.file, file));
        is_only.then_some(&*file.bytes)
    }

    /// The bytes that the tensors take in their files.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.tensors.values().map(|stored| stored.end - stored.start).sum()
    }

    /// The type in which the tensor `name` is stored.
    pub(crate) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.tensors.get(name).map(|stored| stored.dtype)
    }

    /// What candle calls that type, if weights are read in it.
    pub(crate) fn stored_dtype(&self, name: &str) -> Option<DType> {
        weight_dtype(self.dtype(name)?)
    }

    /// The shape of the tensor `name`.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|stored| stored.shape.as_slice())
    }

    /// The type of the tensor `name`, if it is not one that weights are read in.
    pub(crate) fn foreign_type(&self, name: &str) -> Option<Dtype> {
        let dtype = self.tensors.get(name)?.dtype;
        weight_dtype(dtype).is_none().then_some(dtype)
    }

    /// A table of other names for (parts of) the same tensors: no byte is copied. Names that are not there are left
    /// out; thirds are of tensors whose rows divide so.
    pub(crate) fn views<'a>(&self, views: impl IntoIterator<Item = (&'a str, &'a str, Take)>) -> Self {
        let view =
            |(new, old, take): (&str, &str, _)| Some((new.to_owned(), self.tensors.get(old)?.take(take)));
        let tensors = views.into_iter().filter_map(view).collect();
        Self { tensors, ..self.clone_without_tensors() }
    }

    fn clone_without_tensors(&self) -> Self {
        let (path, files, metadata) = (self.path.clone(), self.files.clone(), self.metadata.clone());
        Self { path, files, tensors: BTreeMap::new(), metadata }
    }

    /// The tensors of both, which have no name in common, under this one's path.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.tensors.extend(other.tensors);
        self.files.extend(other.files);
        self
    }

    /// Puts something among what the files say of themselves.
    pub(crate) fn saying(mut self, name: &str, value: String) -> Self {
        self.metadata.insert(name.to_owned(), value);
        self
    }

    /// Calls every tensor by the name that `rename` gives it.
    pub(crate) fn renamed(self, rename: impl Fn(&str) -> String) -> Self {
        let tensors = self.tensors.into_iter().map(|(name, stored)| (rename(&name), stored)).collect();
        Self { tensors, ..self }
    }

    /// Leaves out every tensor that `drop` holds for.
    pub(crate) fn without(mut self, drop: impl Fn(&str) -> bool) -> Self {
        self.tensors.retain(|name, _| !drop(name));
        self
    }

    /// The tensor `name` as the file has it, on the CPU.
    ///
    /// # Errors
    /// No such tensor; a NaN or an infinity in it.
    pub fn read(&self, name: &str) -> Result<Tensor> {
        let (stored, dtype) = self.checked(name)?;
        let bytes = &stored.file.bytes[stored.start..stored.end];
        let raw = |shape: &[usize]| Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu);
        if stored.transposed {
            let shape: Vec<usize> = stored.shape.iter().rev().copied().collect();
            return Ok(raw(&shape)?.t()?.contiguous()?);
        }
        Ok(raw(&stored.shape)?)
    }

    /// A tensor all of whose values are numbers, and its type.
    fn checked(&self, name: &str) -> Result<(&Stored, DType)> {
        let Some(stored) = self.tensors.get(name) else {
            let message = format!("there is no tensor `{name}` in `{}`", self.path.display());
            return Err(Problem::new(message).into());
        };
        let Some(dtype) = weight_dtype(stored.dtype) else {
            let (file, dtype) = (stored.file.path.display(), stored.dtype);
            let message = format!("`{name}` in `{file}` is of type {dtype:?}");
            return Err(Problem::new(message).hint(READ_TYPES).into());
        };
        if !largest(&stored.file.bytes[stored.start..stored.end], dtype).is_finite() {
            let file = stored.file.path.display();
            let message = format!("`{name}` in `{file}` holds a NaN or an infinity");
            return Err(Problem::new(message).hint("the file is damaged, or its training diverged").into());
        }
        Ok((stored, dtype))
    }

    /// The weight of a layer as a network of `dtype` on `device` wants it. On a CPU it stays in the file, if the file has
    /// it in a type that the network's holds; what is written into the file later changes it then.
    ///
    /// # Errors
    /// As [`Self::convert`].
    pub fn weight(&self, name: &str, device: &Device, dtype: DType) -> Result<Weight> {
        if device.is_cpu() && self.staying(dtype)(name) {
            let (stored, found) = self.checked(name)?;
            let (bytes, range) = (Arc::clone(&stored.file), stored.start..stored.end);
            if let Some(weight) = Weight::lying(bytes, range, &stored.shape, found, dtype) {
                return Ok(weight);
            }
        }
        Ok(self.convert(name, device, dtype)?.into())
    }

    /// Which weights may stay in their files, as far as types and forms tell. Halves for a network that runs in float32
    /// stay where that spares much memory; else they are widened once, so that no step has to.
    pub(crate) fn staying(&self, dtype: DType) -> impl Fn(&str) -> bool {
        let halves_stay = dtype == DType::F32 && self.stored_bytes() >= MUCH;
        let stays = move |stored: &Stored| match weight_dtype(stored.dtype) {
            Some(found) => !stored.transposed && (found == dtype || halves_stay),
            None => false,
        };
        move |name| self.tensors.get(name).is_some_and(stays)
    }

    /// A half-precision tensor in float32, in one pass on all cores; none where [`Self::read`] is the way.
    fn widened(&self, name: &str) -> Result<Option<Tensor>> {
        let stored = self.tensors.get(name);
        let halves =
            |stored: &&Stored| matches!(stored.dtype, Dtype::F16 | Dtype::BF16) && !stored.transposed;
        let Some(stored) = stored.filter(halves) else { return Ok(None) };
        let bytes = &stored.file.bytes[stored.start..stored.end];
        let Some(wide) = widen(bytes, stored.dtype == Dtype::BF16) else {
            return self.read(name).map(|_| None); // which says what is wrong with it
        };
        Ok(Some(Tensor::from_vec(wide, stored.shape.as_slice(), &Device::Cpu)?))
    }

    /// The tensor `name` as a network of `dtype` on `device` wants it.
    ///
    /// # Errors
    /// As [`Self::read`]; a value that float16 cannot hold.
    pub fn convert(&self, name: &str, device: &Device, dtype: DType) -> Result<Tensor> {
        if dtype == DType::F32
            && let Some(widened) = self.widened(name)?
        {
            return Ok(widened.to_device(device)?);
        }
        let raw = self.read(name)?;
        if dtype == DType::F16 && raw.dtype() != DType::F16 && raw.elem_count() > 0 {
            let largest = raw.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
            if largest > f16::MAX.to_f32() {
                let message =
                    format!("`{name}` in `{}` holds {largest}, too large for f16", self.path.display());
                return Err(Problem::new(message).hint("run it in bf16 or f32").into());
            }
        }
        Ok(raw.to_dtype(dtype)?.to_device(device)?)
    }
}

/// Whether every shard of an index is there. What is no index has none missing, and is told when it is opened.
fn has_all_shards(folder: &Path, index: &Path) -> bool {
    read_json::<ShardIndex>(index)
        .map_or(true, |index| index.weight_map.values().all(|shard| folder.join(shard).is_file()))
}

/// Bytes of halves that are not widened for good: in float32 they would take twice as much memory.
const MUCH: usize = 256 << 20;

type Header = (Vec<(String, Stored)>, BTreeMap<String, String>);

/// The tensors of a file and what it says of itself.
fn tensors_of(path: &Path, bytes: Bytes) -> Result<Header> {
    let (header, metadata) =
        safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| damaged(path, &bytes, &e))?;
    let data = 8 + header;
    if let Some((name, info)) = metadata.tensors().into_iter().find(|(_, info)| is_endless(&info.shape)) {
        let message = format!("`{}` is damaged: `{name}` is said to be {:?}", path.display(), info.shape);
        return Err(Problem::new(message).hint("download or save the file again").into());
    }
    let file = Arc::new(MappedFile { path: path.to_owned(), bytes });
    let tensors = metadata.tensors();
    let stored = tensors.into_iter().map(|(name, info)| {
        let (start, end) = (data + info.data_offsets.0, data + info.data_offsets.1);
        let (file, shape, dtype) = (Arc::clone(&file), info.shape.clone(), info.dtype);
        (name, Stored { file, start, end, shape, dtype, transposed: false })
    });
    let says = metadata.metadata().iter().flatten().map(|(name, value)| (name.clone(), value.clone()));
    Ok((stored.collect(), says.collect()))
}

/// Whether strides of a shape would be no numbers. An empty tensor may be of any width but for that.
pub(crate) fn is_endless(shape: &[usize]) -> bool {
    shape.iter().try_fold(1usize, |elements, &size| elements.checked_mul(size.max(1))).is_none()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
