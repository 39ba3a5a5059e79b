//! Latents on a wire: where a walk begins, or how far one came.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use flow_engine::{Digest, Result, StoredFile, Value};

use crate::sdxl::write::bytes;
use crate::stored::{Files, numbered};

/// Latents, one per picture.
#[derive(Debug, Clone)]
pub struct Latents {
    /// Name and latents `[c, h, w]` of each, float32 and on the CPU, of the size of standard normal noise; they may
    /// differ in height and width.
    pub each: Vec<(String, Tensor)>,
    digest: Digest,
}

impl Latents {
    /// Latents `[c, h, w]` with their names.
    pub fn new(each: Vec<(String, Tensor)>) -> Result<Self> {
        let mut parts = Vec::with_capacity(3 * each.len());
        for (name, tensor) in &each {
            let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            parts.push(name.clone().into_bytes());
            parts.push(format!("{:?}", tensor.dims()).into_bytes());
            parts.push(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        }
        let digest = Digest::of_parts(parts.iter().map(Vec::as_slice));
        Ok(Self { each, digest })
    }
}

impl Value for Latents {
    const TYPE: &'static str = "Latents";

    fn digest(&self) -> Digest {
        self.digest
    }

    /// One file, with the latents under their numbers and their names in its words.
    fn to_files(&self) -> Result<Option<Vec<StoredFile<'_>>>> {
        let tensors = numbered(self.each.len()).zip(self.each.iter().map(|(_, tensor)| tensor.clone()));
        let names: Vec<_> = self.each.iter().map(|(name, _)| name).collect();
        let words = BTreeMap::from([(NAMES.to_owned(), serde_json::to_string(&names)?)]);
        Ok(Some(vec![StoredFile::new(FILE, bytes(&tensors.collect(), &words)?)]))
    }

    fn from_files(files: Vec<StoredFile<'static>>) -> Result<Self> {
        let mut files = Files::new(Self::TYPE, files)?;
        let mut tensors = files.tensors(FILE)?;
        files.end()?;
        let names = tensors.words.get(NAMES).map(String::as_str).unwrap_or_default();
        let names: Vec<String> = serde_json::from_str(names)?;
        let each = numbered(names.len()).zip(names).map(|(key, name)| Ok((name, tensors.take(&key)?)));
        let each = each.collect::<Result<_>>()?;
        tensors.end()?;
        Self::new(each)
    }
}

const FILE: &str = "latents.safetensors";
/// Under which name the file's words have the names of the latents.
const NAMES: &str = "names";

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use half::bf16;
    use proptest::prelude::*;

    use super::*;
    use crate::stored::testing::{back, survives_damage};

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let tensor = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        tensor.to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }

    proptest! {
        #[test]
        fn latents_come_back_from_their_files(
            each in prop::collection::vec((".*", prop::collection::vec(any::<u32>(), 6)), 0..3)
        ) {
            let tensor = |bits: Vec<u32>| {
                let values = bits.into_iter().map(f32::from_bits).collect();
                Tensor::from_vec(values, (1, 2, 3), &Device::Cpu).unwrap()
            };
            let each: Vec<_> = each.into_iter().map(|(name, bits)| (name, tensor(bits))).collect();
            let found = back(&Latents::new(each.clone()).unwrap()).each;
            prop_assert_eq!(found.len(), each.len());
            for ((name, tensor), (wanted, expected)) in found.iter().zip(&each) {
                prop_assert_eq!(name, wanted);
                prop_assert_eq!(tensor.dims(), expected.dims());
                prop_assert_eq!(bits(tensor), bits(expected));
            }
        }
    }

    #[test]
    fn equal_names_and_other_types_come_back_too() {
        let narrow = Tensor::new(&[[[bf16::from_f32(0.1), bf16::NAN]]], &Device::Cpu).unwrap();
        // Not in the order of its memory.
        let wide = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((2, 2, 3)).unwrap();
        let wide = wide.transpose(1, 2).unwrap();
        let latents = Latents::new(vec![("a".into(), narrow), ("a".into(), wide.clone())]).unwrap();
        let found = back(&latents).each;
        assert_eq!(found[0].1.dtype(), DType::BF16);
        assert_eq!((found[1].1.dims(), bits(&found[1].1)), (wide.dims(), bits(&wide)));
    }

    #[test]
    fn damaged_files_are_refused() {
        let tensor = Tensor::zeros((4, 2, 2), DType::F32, &Device::Cpu).unwrap();
        survives_damage(&Latents::new(vec![("a".into(), tensor.clone()), ("b".into(), tensor)]).unwrap());
    }

    #[test]
    fn the_digest_sees_names_shapes_values_and_order() {
        let tensor = |values: [f32; 4], shape: (usize, usize, usize)| {
            Tensor::from_vec(values.to_vec(), shape, &Device::Cpu).unwrap()
        };
        let (a, b) = (tensor([1.0, 2.0, 3.0, 4.0], (1, 2, 2)), tensor([1.0, 2.0, 3.0, 4.0], (2, 1, 2)));
        let c = tensor([1.0, 2.0, 3.0, 5.0], (1, 2, 2));
        let of = |each: &[(&str, &Tensor)]| {
            let each = each.iter().map(|&(name, tensor)| (name.to_owned(), tensor.clone()));
            Latents::new(each.collect()).unwrap().digest()
        };
        let digests = [
            of(&[("a", &a)]),
            of(&[("b", &a)]),
            of(&[("a", &b)]),
            of(&[("a", &c)]),
            of(&[("a", &a), ("a", &c)]),
            of(&[("a", &c), ("a", &a)]),
        ];
        let distinct: std::collections::HashSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
