//! Writing safetensors: the same tensors and words always give the same bytes.
//!
//! The library's own writer puts what a file says of itself in an order that changes from run to run, and wants all
//! tensors at once; here words are sorted, and tensors come one by one. Nothing here knows what the tensors are.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use candle_core::{DType, Tensor};
use flow_engine::{Problem, Result};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};

/// A tensor to come.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name in the file.
    pub name: String,
    /// Its type there.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A header: words first, then tensors in the order of their bytes.
struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: Vec<(&'a str, TensorInfo)>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry("__metadata__", self.metadata)?;
        }
        self.tensors.iter().try_for_each(|(name, info)| map.serialize_entry(name, info))?;
        map.end()
    }
}

/// Writes a file whose tensors `tensor` gives when their turn comes, in the order of `entries`.
///
/// # Errors
/// A type that safetensors files do not have here, those of `tensor`, a full disk.
pub fn write(
    to: &mut dyn Write,
    entries: &[Entry],
    metadata: &BTreeMap<String, String>,
    mut tensor: impl FnMut(&Entry) -> Result<Tensor>,
) -> Result<()> {
    let mut end = 0;
    let mut tensors = Vec::with_capacity(entries.len());
    for Entry { name, dtype, shape } in entries {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.size_in_bytes();
        let info = TensorInfo { dtype: stored(*dtype)?, shape: shape.clone(), data_offsets: (start, end) };
        tensors.push((name.as_str(), info));
    }
    let mut header = serde_json::to_vec(&Header { metadata, tensors })?;
    header.resize(header.len().next_multiple_of(8), b' ');
    // candle writes number by number.
    let mut to = BufWriter::with_capacity(1 << 20, to);
    to.write_all(&(header.len() as u64).to_le_bytes())?;
    to.write_all(&header)?;
    for entry in entries {
        let tensor = tensor(entry)?.to_dtype(entry.dtype)?;
        anyhow::ensure!(tensor.dims() == entry.shape, "`{}` is {:?}", entry.name, tensor.dims());
        tensor.write_bytes(&mut to)?;
    }
    Ok(to.flush()?)
}

/// A tensor in the type of a file.
///
/// # Errors
/// A value that float16 does not hold.
pub(crate) fn fitting(name: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if dtype == DType::F16 && tensor.dtype() != DType::F16 && tensor.elem_count() > 0 {
        let largest = tensor.to_dtype(DType::F32)?.abs()?.max_all()?.to_scalar::<f32>()?;
        if largest > half::f16::MAX.to_f32() {
            let message = format!("`{name}` holds {largest}, too large for f16");
            return Err(Problem::new(message).hint("save it with `dtype: F32`").into());
        }
    }
    Ok(tensor.to_dtype(dtype)?)
}

/// A whole file in memory, tensors in order of name.
///
/// # Errors
/// A type that safetensors files do not have here.
pub fn bytes(tensors: &BTreeMap<String, Tensor>, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_all(&mut bytes, tensors, metadata)?;
    Ok(bytes)
}

/// Writes a file of tensors that are there already, in order of name.
///
/// # Errors
/// As [`write()`].
pub fn write_all(
    to: &mut dyn Write,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let entry = |(name, tensor): (&String, &Tensor)| Entry {
        name: name.clone(),
        dtype: tensor.dtype(),
        shape: tensor.dims().to_vec(),
    };
    let entries: Vec<_> = tensors.iter().map(entry).collect();
    write(to, &entries, metadata, |entry| Ok(tensors[&entry.name].clone()))
}

fn stored(dtype: DType) -> Result<Dtype> {
    match dtype {
        DType::F32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        DType::F64 => Ok(Dtype::F64),
        DType::I64 => Ok(Dtype::I64),
        DType::U8 => Ok(Dtype::U8),
        other => Err(Problem::new(format!("{other:?} is not written into safetensors files")).into()),
    }
}
