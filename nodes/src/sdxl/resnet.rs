//! The residual block that denoiser and autoencoder share (diffusers' `ResnetBlock2D`).

use candle_core::Tensor;
use flow_engine::Result;

use super::trace::Trace;
use super::weights::Weights;
use crate::ops::{Conv2d, GroupNorm, Linear, norm_silu_conv, rows_of};

/// Two convolutions and a way around them.
#[derive(Debug)]
pub(crate) struct ResnetBlock {
    name: String,
    norm1: GroupNorm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

/// The settings that all blocks of a network share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResnetConfig {
    /// Groups of the norms.
    pub(crate) groups: usize,
    /// Epsilon of the norms.
    pub(crate) eps: f64,
    /// Features of the timestep embedding, where there is one.
    pub(crate) time: Option<usize>,
}

impl ResnetBlock {
    pub(crate) fn new(config: ResnetConfig, c_in: usize, c_out: usize, w: &Weights<'_>) -> Result<Self> {
        let ResnetConfig { groups, eps, time } = config;
        Ok(Self {
            norm1: w.group_norm("norm1", c_in, groups, eps)?,
            conv1: w.conv2d("conv1", (c_in, c_out), 3, 1, 1)?,
            time: time.map(|d| w.linear("time_emb_proj", d, c_out, true)).transpose()?,
            norm2: w.group_norm("norm2", c_out, groups, eps)?,
            conv2: w.conv2d("conv2", (c_out, c_out), 3, 1, 1)?,
            shortcut: (c_in != c_out)
                .then(|| w.conv2d("conv_shortcut", (c_in, c_out), 1, 1, 0))
                .transpose()?,
            name: w.path().to_owned(),
        })
    }

    /// `x` `[b, c_in, h, w]` and the timestep embedding `[b, d]`, already through SiLU, to `[b, c_out, h, w]`.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>, trace: &Trace) -> Result<Tensor> {
        let h = norm_silu_conv(&self.norm1, &self.conv1, x, None)?;
        let h = match (&self.time, time) {
            (Some(layer), Some(time)) => {
                let shift = layer.forward(time)?; // [b, c_out]
                h.broadcast_add(&shift.unsqueeze(2)?.unsqueeze(3)?)?
            }
            _ => h,
        };
        let around = |rows| -> Result<Tensor> {
            let x = rows_of(x, rows)?;
            self.shortcut.as_ref().map_or(Ok(x.clone()), |shortcut| shortcut.forward(&x))
        };
        let out = norm_silu_conv(&self.norm2, &self.conv2, &h, Some(&around))?;
        trace.see(&self.name, &out);
        Ok(out)
    }
}
