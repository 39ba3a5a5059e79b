//! The weight files of one part of a model: found, mapped, read by header, and converted tensor by tensor.
//!
//! Opening looks at names, shapes and sizes only. Values are read when a tensor is asked for, and are checked then.
//!
//! Nothing here knows which tensors a network wants.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result};
use half::f16;
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError};
use serde::Deserialize;

use super::config::read_json;

/// The safetensors files of one part, as one table of tensors.
#[derive(Debug, Clone)]
pub struct WeightFiles {
    folder: PathBuf,
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Stored>,
}

/// A tensor inside a mapped file.
#[derive(Debug, Clone)]
struct Stored {
    file: Arc<MappedFile>,
    start: usize,
    end: usize,
    shape: Vec<usize>,
    dtype: DType,
}

#[derive(Debug)]
struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

/// `*.safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Finds and opens `{stem}.safetensors` in `folder`: whole before sharded, full precision before fp16.
    ///
    /// # Errors
    /// No safetensors, files that are damaged or are no safetensors, types that are no weights.
    pub fn open(folder: &Path, stem: &str) -> Result<Self> {
        for variant in ["", ".fp16"] {
            let whole = folder.join(format!("{stem}{variant}.safetensors"));
            if whole.is_file() {
                return Self::from_files(folder, vec![whole]);
            }
        }
        let indices = ["safetensors.index", "fp16.safetensors.index", "safetensors.index.fp16"];
        for name in indices.map(|index| folder.join(format!("{stem}.{index}.json"))) {
            if name.is_file() {
                return Self::from_index(folder, name);
            }
        }
        Err(absent(folder, stem).into())
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

    fn from_files(folder: &Path, files: Vec<PathBuf>) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for path in &files {
            for (name, stored) in open_file(path)? {
                if let Some(other) = tensors.insert(name.clone(), stored) {
                    let other = other.file.path.display().to_string();
                    return Err(Problem::new(format!(
                        "`{name}` is in both `{other}` and `{}`",
                        path.display()
                    ))
                    .into());
                }
            }
        }
        Ok(Self { folder: folder.to_owned(), files, tensors })
    }

    /// The folder they are in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every file, the index of shards among them.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Names and shapes, in order of name.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
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
        let Some(stored) = self.tensors.get(name) else {
            return Err(
                Problem::new(format!("there is no tensor `{name}` in `{}`", self.folder.display())).into()
            );
        };
        let bytes = &stored.file.map[stored.start..stored.end];
        if !stored.dtype.is_float() {
            let message = format!("`{name}` in `{}` holds integers, not weights", stored.file.path.display());
            return Err(Problem::new(message).into());
        }
        if !largest(bytes, stored.dtype).is_finite() {
            let file = stored.file.path.display();
            let message = format!("`{name}` in `{file}` holds a NaN or an infinity");
            return Err(Problem::new(message).hint("the file is damaged, or its training diverged").into());
        }
        Ok(Tensor::from_raw_buffer(bytes, stored.dtype, &stored.shape, &Device::Cpu)?)
    }

    /// The tensor `name` as a network of `dtype` on `device` wants it.
    ///
    /// # Errors
    /// As [`Self::read`]; a value that float16 cannot hold.
    pub fn convert(&self, name: &str, device: &Device, dtype: DType) -> Result<Tensor> {
        let raw = self.read(name)?;
        if dtype == DType::F16 && raw.dtype() != DType::F16 && raw.elem_count() > 0 {
            let largest = raw.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
            if largest > f16::MAX.to_f32() {
                let message =
                    format!("`{name}` in `{}` holds {largest}, too large for f16", self.folder.display());
                return Err(Problem::new(message).hint("run it in bf16 or f32").into());
            }
        }
        Ok(raw.to_dtype(dtype)?.to_device(device)?)
    }
}

/// The largest magnitude among little-endian floats: without its sign, a float orders like its bits, and NaN and
/// infinity come last.
fn largest(bytes: &[u8], dtype: DType) -> f32 {
    fn most<const N: usize>(bytes: &[u8], bits: impl Fn([u8; N]) -> u32) -> u32 {
        bytes.as_chunks::<N>().0.iter().map(|&chunk| bits(chunk)).max().unwrap_or(0)
    }
    let half = |sixteen: [u8; 2]| u32::from(u16::from_le_bytes(sixteen) & 0x7fff);
    match dtype {
        DType::F16 => f16::from_bits(most(bytes, half) as u16).to_f32(),
        DType::BF16 => f32::from_bits(most(bytes, half) << 16),
        _ => f32::from_bits(most(bytes, |four| u32::from_le_bytes(four) & 0x7fff_ffff)),
    }
}

fn open_file(path: &Path) -> Result<Vec<(String, Stored)>> {
    let file = File::open(path)
        .map_err(|cause| Problem::new(format!("cannot open `{}`: {cause}", path.display())))?;
    #[expect(
        unsafe_code,
        reason = "mapping is unsafe because another process could cut the file while we read it"
    )]
    let map = unsafe { Mmap::map(&file) }
        .map_err(|cause| Problem::new(format!("cannot map `{}`: {cause}", path.display())))?;
    let (header, metadata) =
        safetensors::SafeTensors::read_metadata(&map).map_err(|e| damaged(path, &map, &e))?;
    let data = 8 + header;
    let file = Arc::new(MappedFile { path: path.to_owned(), map });
    let tensors = metadata.tensors();
    let stored = tensors.into_iter().map(|(name, info)| {
        let dtype = weight_dtype(path, &name, info.dtype)?;
        let (start, end) = (data + info.data_offsets.0, data + info.data_offsets.1);
        Ok((name, Stored { file: file.clone(), start, end, shape: info.shape.clone(), dtype }))
    });
    stored.collect()
}

/// Buffers of integers (`position_ids`) pass as what candle calls them; they are dropped later.
fn weight_dtype(path: &Path, name: &str, dtype: Dtype) -> Result<DType> {
    match dtype {
        Dtype::F32 => Ok(DType::F32),
        Dtype::F16 => Ok(DType::F16),
        Dtype::BF16 => Ok(DType::BF16),
        Dtype::I64 => Ok(DType::I64),
        Dtype::I32 => Ok(DType::I32),
        other => {
            let message = format!("`{name}` in `{}` is of type {other:?}", path.display());
            Err(Problem::new(message).hint("weights are read in F32, F16 and BF16").into())
        }
    }
}

/// Why a file cannot be read, in terms of its bytes.
fn damaged(path: &Path, bytes: &[u8], cause: &SafeTensorError) -> Problem {
    let (file, size) = (path.display(), bytes.len());
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Problem::new(format!("`{file}` has {size} bytes: it is not a safetensors file"));
    };
    let header = u64::from_le_bytes(*length);
    if rest.first() != Some(&b'{') {
        return Problem::new(format!("`{file}` is not a safetensors file"))
            .hint("is it a checkpoint of another format, or a web page saved under this name?");
    }
    let again = "the download was cut short or the file is damaged: download it again";
    let Some(json) = usize::try_from(header).ok().and_then(|n| rest.get(..n)) else {
        return Problem::new(format!("`{file}` promises a header of {header} bytes, but has only {size}"))
            .hint(again);
    };
    match serde_json::from_slice::<Metadata>(json).map(|m| m.data_len() as u64 + header + 8) {
        Ok(promised) if promised != size as u64 => {
            Problem::new(format!("the header of `{file}` promises {promised} bytes, but the file has {size}"))
                .hint(again)
        }
        _ => Problem::new(format!("the header of `{file}` is damaged: {cause}")).hint(again),
    }
}

/// Why there is nothing to open.
fn absent(folder: &Path, stem: &str) -> Problem {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let pickle = entries.into_iter().find(|path| {
        let extension = path.extension().and_then(|e| e.to_str());
        matches!(extension, Some("bin" | "ckpt" | "pt" | "pth" | "pkl"))
    });
    match pickle {
        Some(pickle) => Problem::new(format!(
            "`{}` is a Python pickle: opening one can run any program, so Flow does not",
            pickle.display()
        ))
        .hint(
            "get the safetensors of this model, \
             or save it again with `pipe.save_pretrained(folder, safe_serialization=True)`",
        ),
        None => Problem::new(format!("there is no `{stem}.safetensors` in `{}`", folder.display()))
            .hint("the folder is not a complete diffusers model: download it again"),
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
