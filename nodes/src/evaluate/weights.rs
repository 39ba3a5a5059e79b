//! Weights of the networks that judge, from safetensors files.

use std::collections::BTreeMap;

use candle_core::Tensor;
use flow_engine::Result;

use crate::ops::Weight;
use crate::sdxl::files::WeightFiles;
use crate::sdxl::{Compute, Source};

/// The tensors of a file on their way into a network, whose names and shapes are known to fit.
pub(super) struct FromFile<'a> {
    pub files: &'a WeightFiles,
    pub compute: &'a Compute,
}

impl Source for FromFile<'_> {
    fn tensor(&self, name: &str, _: &[usize]) -> Result<Tensor> {
        self.files.convert(name, &self.compute.device, self.compute.dtype)
    }

    fn weight(&self, name: &str, _: &[usize]) -> Result<Weight> {
        self.files.weight(name, &self.compute.device, self.compute.dtype)
    }
}

/// Every tensor that is missing or of another shape.
pub(super) fn misfits(files: &WeightFiles, wanted: &BTreeMap<String, Vec<usize>>) -> Vec<String> {
    let misfit = |(name, wanted): (&String, &Vec<usize>)| match files.shape(name) {
        None => Some(format!("`{name}` {wanted:?} is missing")),
        Some(found) if found != wanted => Some(format!("`{name}` is {found:?}, expected {wanted:?}")),
        Some(_) => None,
    };
    wanted.iter().filter_map(misfit).collect()
}
