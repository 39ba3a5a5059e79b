//! Activations, element by element.
//!
//! On a CPU each is one pass over memory, forward and back; elsewhere they are candle's own operations.

use candle_core::{CpuStorage, CustomOp1, D, Layout, Shape, Tensor};
use flow_engine::Result;

use super::lanes::{exp, for_parts, map, map2, normal, wide};
use super::values::{contiguous_f32, with_all};
use super::{in_f32, is_f32_on_cpu};

/// The slope of [`quick_gelu`].
const QUICK: f32 = 1.702;

/// `max(x, 0)`.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    Ok(x.relu()?)
}

/// `x sigmoid(x)`.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    activate(x, Activation::Silu, |x| x.silu())
}

/// The exact `x Phi(x)` by the error function, as SDXL's second text encoder and GEGLU want it.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    activate(x, Activation::Gelu, |x| x.gelu_erf())
}

/// OpenAI CLIP's approximation of [`gelu`]: `x sigmoid(1.702 x)`.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    let slope = f64::from(QUICK);
    activate(x, Activation::QuickGelu, |x| (x * slope)?.silu()? / slope)
}

/// A gated activation: the last axis of `x` `[.., 2d]` holds values and then gates; gives `[.., d]`.
///
/// `values * gelu(gates)`, Shazeer 2020 (arXiv 2002.05202).
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    in_f32(x, |x| {
        if is_f32_on_cpu(x) && x.dim(D::Minus1)?.is_multiple_of(2) {
            return Ok(x.contiguous()?.apply_op1(Geglu)?);
        }
        let halves = x.chunk(2, D::Minus1)?;
        Ok((&halves[0] * halves[1].contiguous()?.gelu_erf()?)?)
    })
}

fn activate(
    x: &Tensor,
    activation: Activation,
    elsewhere: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Tensor> {
    in_f32(x, |x| Ok(if is_f32_on_cpu(x) { x.contiguous()?.apply_op1(activation)? } else { elsewhere(x)? }))
}

#[derive(Debug, Clone, Copy)]
enum Activation {
    Silu,
    Gelu,
    QuickGelu,
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x sigmoid(s x)`.
#[inline(always)]
fn swish(x: f32, s: f32) -> f32 {
    x * sigmoid(s * x)
}

#[inline(always)]
fn swish_slope(x: f32, s: f32) -> f32 {
    let gate = sigmoid(s * x);
    gate * (1.0 + s * x * (1.0 - gate))
}

#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    let (density, distribution) = normal(x);
    distribution + x * density
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(storage, layout)?;
        let y = match self {
            Self::Silu => map(x, |x| swish(x, 1.0)),
            Self::QuickGelu => map(x, |x| swish(x, QUICK)),
            Self::Gelu => map(x, |x| x * normal(x).1),
        };
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let slope = |x: &[f32], grad: &[f32]| match self {
            Self::Silu => map2(x, grad, |x, grad| grad * swish_slope(x, 1.0)),
            Self::QuickGelu => map2(x, grad, |x, grad| grad * swish_slope(x, QUICK)),
            Self::Gelu => map2(x, grad, |x, grad| grad * gelu_slope(x)),
        };
        let back = with_all([x, &grad], |[x, grad]| slope(x, grad))?;
        Tensor::from_vec(back, x.shape(), x.device()).map(Some)
    }
}

struct Geglu;

impl CustomOp1 for Geglu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = contiguous_f32(storage, layout)?;
        let mut dims = layout.dims().to_vec();
        let d = dims.last().map_or(0, |last| last / 2);
        if let Some(last) = dims.last_mut() {
            *last = d;
        }
        let mut out = vec![0f32; x.len() / 2];
        for_parts(&mut out, d, |row, to| {
            let (values, gates) = x[2 * d * row..][..2 * d].split_at(d);
            wide(|| {
                let pairs = values.iter().zip(gates);
                to.iter_mut()
                    .zip(pairs)
                    .for_each(|(to, (&value, &gate))| *to = value * gate * normal(gate).1);
            });
        });
        Ok((CpuStorage::F32(out), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let d = x.dim(D::Minus1)? / 2;
        let back = with_all([x, &grad], |[x, grad]| geglu_back(x, grad, d))?;
        Tensor::from_vec(back, x.shape(), x.device()).map(Some)
    }
}

fn geglu_back(x: &[f32], grad: &[f32], d: usize) -> Vec<f32> {
    let mut back = vec![0f32; x.len()];
    for_parts(&mut back, 2 * d, |row, to| {
        let (values, gates) = x[2 * d * row..][..2 * d].split_at(d);
        let grad = &grad[d * row..][..d];
        let (to_values, to_gates) = to.split_at_mut(d);
        wide(|| {
            let seen = values.iter().zip(gates).zip(grad);
            let to = to_values.iter_mut().zip(to_gates);
            to.zip(seen).for_each(|((to_value, to_gate), ((&value, &gate), &grad))| {
                let (density, distribution) = normal(gate);
                *to_value = grad * gate * distribution;
                *to_gate = grad * value * (distribution + gate * density);
            });
        });
    });
    back
}
