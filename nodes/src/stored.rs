//! What values have in common on their way into the store's files and back.
//!
//! Nothing here trusts what it reads: a file may be cut short, foreign, or there twice. What a header promises is never
//! allocated before the bytes for it are there.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use flow_engine::{Problem, Result, StoredFile};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The files of one value, each to be taken once.
pub(crate) struct Files {
    of: &'static str,
    left: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// The files of a value of the type `of`.
    ///
    /// # Errors
    /// Two of one name.
    pub(crate) fn new(of: &'static str, files: Vec<StoredFile<'static>>) -> Result<Self> {
        let mut left = BTreeMap::new();
        for StoredFile { name, bytes } in files {
            if left.insert(name.clone(), bytes.into_owned()).is_some() {
                return Err(damaged(of, format!("`{name}` is there twice")).into());
            }
        }
        Ok(Self { of, left })
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// No such file.
    pub(crate) fn take(&mut self, name: &str) -> Result<Vec<u8>> {
        let bytes = self.left.remove(name);
        Ok(bytes.ok_or_else(|| damaged(self.of, format!("`{name}` is missing")))?)
    }

    /// What a JSON file says.
    ///
    /// # Errors
    /// No such file, or not what was written.
    pub(crate) fn json<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        let read = serde_json::from_slice(&self.take(name)?);
        Ok(read.map_err(|cause| damaged(self.of, format!("`{name}`: {cause}")))?)
    }

    /// Tensors and words of a safetensors file.
    ///
    /// # Errors
    /// No such file, or not what was written.
    pub(crate) fn tensors(&mut self, name: &str) -> Result<Tensors> {
        let read = Tensors::read(&self.take(name)?);
        Ok(read.map_err(|cause| damaged(self.of, format!("`{name}`: {cause:#}")))?)
    }

    /// Refuses files that nobody took.
    pub(crate) fn end(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            Some(name) => Err(damaged(self.of, format!("nobody wrote `{name}`"))),
            None => Ok(()),
        }
    }
}

/// What to say of files that do not hold what was written.
pub(crate) fn damaged(of: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(format!("the files of a stored {of} are damaged: {why}"))
}

/// A JSON file.
///
/// # Errors
/// Paths that are no text.
pub(crate) fn json(name: &str, said: &impl Serialize) -> Result<StoredFile<'static>> {
    let mut bytes = serde_json::to_vec_pretty(said)?;
    bytes.push(b'\n');
    Ok(StoredFile::new(name, bytes))
}

/// What so many files of one kind are called before their endings, in their order: `00`, `01` and so on.
pub(crate) fn numbered(count: usize) -> impl Iterator<Item = String> {
    let digits = count.saturating_sub(1).to_string().len().max(2);
    (0..count).map(move |index| format!("{index:0digits$}"))
}

/// What a safetensors file holds.
pub(crate) struct Tensors {
    tensors: BTreeMap<String, Tensor>,
    /// What it says of itself.
    pub(crate) words: BTreeMap<String, String>,
}

impl Tensors {
    /// Every tensor in its own type, on the CPU.
    fn read(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(bytes)?.iter() {
            anyhow::ensure!(!crate::sdxl::files::is_endless(view.shape()), "`{name}` is {:?}", view.shape());
            let dtype = candle_dtype(view.dtype())?;
            let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
            tensors.insert(name.to_owned(), tensor);
        }
        let words = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { tensors, words })
    }

    /// A tensor.
    ///
    /// # Errors
    /// No such tensor.
    pub(crate) fn take(&mut self, name: &str) -> Result<Tensor> {
        self.tensors.remove(name).ok_or_else(|| Problem::new(format!("there is no tensor `{name}`")).into())
    }

    /// Refuses tensors that nobody took.
    pub(crate) fn end(self) -> Result<(), Problem> {
        match self.tensors.keys().next() {
            Some(name) => Err(Problem::new(format!("nobody wrote the tensor `{name}`"))),
            None => Ok(()),
        }
    }
}

/// What candle calls a type that [`write`](crate::sdxl::write) writes.
fn candle_dtype(dtype: Dtype) -> Result<DType> {
    match dtype {
        Dtype::F32 => Ok(DType::F32),
        Dtype::F16 => Ok(DType::F16),
        Dtype::BF16 => Ok(DType::BF16),
        Dtype::F64 => Ok(DType::F64),
        Dtype::I64 => Ok(DType::I64),
        Dtype::U8 => Ok(DType::U8),
        other => anyhow::bail!("a tensor is of type {other:?}"),
    }
}

/// A number that comes back as it went, `-0` and what is no number among them: JSON's own do not, because it has no
/// words for some, and its reader rounds others. It is written as text, and read by a parser that is exact.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Exact(pub(crate) f64);

impl From<Exact> for String {
    fn from(Exact(number): Exact) -> Self {
        number.to_string()
    }
}

impl TryFrom<String> for Exact {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// For fields of numbers that are to be [`Exact`].
pub(crate) mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Exact;

    pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Exact(*number).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Exact::deserialize(deserializer).map(|Exact(number)| number)
    }
}

/// The same for numbers that may be absent.
pub(crate) mod exact_or_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Exact;

    pub(crate) fn serialize<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        number.map(Exact).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(deserializer)?.map(|Exact(number)| number))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_comes_back_as_it_went(bits: u64) {
            let number = f64::from_bits(bits);
            let json = serde_json::to_string(&Exact(number)).unwrap();
            let Exact(back) = serde_json::from_str(&json).unwrap();
            prop_assert!(back.to_bits() == bits || back.is_nan() && number.is_nan());
        }
    }

    #[test]
    fn an_empty_tensor_of_endless_width_is_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[0,9223372036854775807,9],"data_offsets":[0,0]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        assert!(Tensors::read(&bytes).is_err());
    }
}
