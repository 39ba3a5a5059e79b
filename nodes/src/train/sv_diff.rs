//! SVDiff (arXiv 2303.11305): the singular values of a weight are shifted, `W' = U relu(s + delta) Vᵀ`.

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chance::Chance;
use super::layer::{Base, TrainedLayer, parameter};
use super::method::{Method, Writing};
use super::rank::ex_ca;
use crate::adapter::basis;
use crate::adapter::layers::Layers;
use crate::ops::{Adapt, Bare};

/// Learn to shift the singular values of the weights (arXiv 2303.11305).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SvDiff {
    /// The layers to train.
    #[serde(default = "ex_ca")]
    pub layers: Layers,
}

impl Method for SvDiff {
    fn name(&self) -> &'static str {
        "SVDiff"
    }

    fn rate(&self) -> f64 {
        1e-2
    }

    fn layers(&self) -> Option<&Layers> {
        Some(&self.layers)
    }

    fn layer(&self, base: &Base<'_>, _: &mut Chance) -> Result<Option<Box<dyn TrainedLayer>>> {
        let (d, k) = base.sides();
        let start = Tensor::zeros(d.min(k), DType::F32, &Device::Cpu)?;
        Ok(Some(Box::new(SvDiffLayer::new(&start, base)?)))
    }

    fn writing(&self) -> Writing {
        Writing { architecture: "svdiff", kohya_names: false, says: Vec::new() }
    }
}

/// A layer with shifted singular values.
#[derive(Debug)]
pub struct SvDiffLayer {
    /// `[m]` with `m = min(d, k)`, in the order of the singular values, the largest first.
    shift: Var,
    /// `[d, m]`.
    u: Tensor,
    /// `[1, m]`.
    s: Tensor,
    /// `[m, k]`.
    v: Tensor,
}

impl SvDiffLayer {
    /// A layer that starts at these shifts.
    ///
    /// # Errors
    /// A weight whose decomposition does not converge.
    pub fn new(shift: &Tensor, base: &Base<'_>) -> Result<Self> {
        let svd = basis::svd(basis::matrix(&base.weight)?.as_ref())?;
        let (device, m) = (base.device(), svd.s.len());
        let s: Vec<f32> = svd.s.iter().map(|&value| value as f32).collect();
        Ok(Self {
            shift: parameter(shift, device)?,
            u: basis::tensor(svd.u.as_ref(), &[svd.u.nrows(), m], device)?,
            s: Tensor::from_vec(s, (1, m), device)?,
            v: basis::tensor(svd.v.transpose(), &[m, svd.v.nrows()], device)?,
        })
    }
}

impl Adapt for SvDiffLayer {
    fn forward(&self, layer: &Bare<'_>) -> Result<Tensor> {
        let shift = self.shift.as_tensor().unsqueeze(0)?;
        // Only the change goes through the factors, so that the weight keeps its own digits.
        let change = ((&self.s + shift)?.relu()? - &self.s)?;
        layer.changed(&self.u.broadcast_mul(&change)?.matmul(&self.v)?)
    }
}

impl TrainedLayer for SvDiffLayer {
    fn parameters(&self) -> Vec<(&'static str, &Var)> {
        vec![("svdiff_delta", &self.shift)]
    }

    fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(vec![(".svdiff_delta", values[0].clone())])
    }
}
