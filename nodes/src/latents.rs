//! Latents on a wire: where a walk begins, or how far one came.

use candle_core::{DType, Tensor};
use flow_engine::{Digest, Result, Value};

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
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

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
