//! Group and layer normalization in one operation on a CPU, forward and back.
//!
//! A tensor is rows, each of which gets mean 0 and variance 1, and then a scale and a shift of its own for each run of
//! numbers: of a layer norm a row is a token and a run one feature, of a group norm a row is a group of channels and a
//! run one channel. With `x̂ = (x - mean) / sigma` and `g` the gradient times the scale,
//!
//! ```text
//! dL/dx = (g - mean(g) - x̂ mean(g x̂)) / sigma,   dL/dscale = sum(grad x̂),   dL/dshift = sum(grad)
//! ```

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::lanes::{for_parts, total, wide};
use super::values::{contiguous_f32, with_all};

/// How a tensor is cut into rows, and rows into runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normalize {
    /// Numbers in a row.
    pub row: usize,
    /// Numbers in a run; divides `row`.
    pub run: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl Normalize {
    /// Mean and `1 / sigma` of a row.
    #[inline(always)]
    fn moments(&self, x: &[f32]) -> (f32, f32) {
        let count = x.len() as f64;
        let mean = total(x, x, |x, _| x) / count;
        let at = mean as f32;
        let variance = total(x, x, |x, _| (x - at) * (x - at)) / count;
        (at, (1.0 / (variance + self.eps).sqrt()) as f32)
    }

    /// The numbers of the first run of a row, of as many runs as there are scales.
    fn first_run(&self, row: usize, scales: usize) -> usize {
        (row * (self.row / self.run)) % scales.max(1)
    }

    fn forward(&self, x: &[f32], scale: &[f32], shift: &[f32]) -> Vec<f32> {
        let mut out = vec![0f32; x.len()];
        let runs = self.row / self.run;
        for_parts(&mut out, self.row, |row, to| {
            let x = &x[row * self.row..][..self.row];
            let first = self.first_run(row, scale.len());
            let (scale, shift) = (&scale[first..][..runs], &shift[first..][..runs]);
            wide(|| self.row_forward(x, scale, shift, to));
        });
        out
    }

    #[inline(always)]
    fn row_forward(&self, x: &[f32], scale: &[f32], shift: &[f32], to: &mut [f32]) {
        let (mean, inverse) = self.moments(x);
        if self.run == 1 {
            let numbers = to.iter_mut().zip(x).zip(scale.iter().zip(shift));
            numbers.for_each(|((to, &x), (&scale, &shift))| *to = (x - mean) * inverse * scale + shift);
            return;
        }
        let runs = to.chunks_exact_mut(self.run).zip(x.chunks_exact(self.run)).zip(scale.iter().zip(shift));
        for ((to, x), (&scale, &shift)) in runs {
            to.iter_mut().zip(x).for_each(|(to, &x)| *to = (x - mean) * inverse * scale + shift);
        }
    }

    fn toward_x(&self, x: &[f32], scale: &[f32], grad: &[f32]) -> Vec<f32> {
        let mut out = vec![0f32; x.len()];
        let runs = self.row / self.run;
        for_parts(&mut out, self.row, |row, to| {
            let (x, grad) = (&x[row * self.row..][..self.row], &grad[row * self.row..][..self.row]);
            let scale = &scale[self.first_run(row, scale.len())..][..runs];
            wide(|| self.row_toward_x(x, scale, grad, to));
        });
        out
    }

    #[inline(always)]
    fn row_toward_x(&self, x: &[f32], scale: &[f32], grad: &[f32], to: &mut [f32]) {
        let (mean, inverse) = self.moments(x);
        if self.run == 1 {
            to.iter_mut().zip(grad).zip(scale).for_each(|((to, &grad), &scale)| *to = grad * scale);
        } else {
            let runs = to.chunks_exact_mut(self.run).zip(grad.chunks_exact(self.run)).zip(scale);
            runs.for_each(|((to, grad), &scale)| {
                to.iter_mut().zip(grad).for_each(|(to, &g)| *to = g * scale)
            });
        }
        let count = x.len() as f64;
        let mean_g = (total(to, x, |g, _| g) / count) as f32;
        let along = total(to, x, |g, x| g * (x - mean)) / count;
        let along = (along * f64::from(inverse) * f64::from(inverse)) as f32;
        to.iter_mut().zip(x).for_each(|(to, &x)| *to = inverse * (*to - mean_g - (x - mean) * along));
    }

    /// The gradients of scale and shift.
    fn toward_scale(&self, x: &[f32], grad: &[f32], scales: usize) -> (Vec<f32>, Vec<f32>) {
        let mut sums = vec![(0f64, 0f64); scales];
        for (row, (x, grad)) in x.chunks_exact(self.row).zip(grad.chunks_exact(self.row)).enumerate() {
            let sums = &mut sums[self.first_run(row, scales)..];
            wide(|| {
                let (mean, inverse) = self.moments(x);
                let runs = x.chunks_exact(self.run).zip(grad.chunks_exact(self.run));
                for ((scale, shift), (x, grad)) in sums.iter_mut().zip(runs) {
                    *scale += total(x, grad, |x, g| (x - mean) * inverse * g);
                    *shift += total(grad, grad, |g, _| g);
                }
            });
        }
        sums.into_iter().map(|(scale, shift)| (scale as f32, shift as f32)).unzip()
    }
}

impl CustomOp3 for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_at: &Layout,
        scale: &CpuStorage,
        scale_at: &Layout,
        shift: &CpuStorage,
        shift_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (scale, shift) = (contiguous_f32(scale, scale_at)?, contiguous_f32(shift, shift_at)?);
        let runs = self.row / self.run.max(1);
        if scale.len() != shift.len() || (runs > 0 && !scale.len().is_multiple_of(runs)) {
            candle_core::bail!("{} scales and {} shifts for {runs} runs", scale.len(), shift.len());
        }
        let out = self.forward(contiguous_f32(x, x_at)?, scale, shift);
        Ok((CpuStorage::F32(out), x_at.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        let toward_x =
            || tensor(with_all([x, scale, &grad], |[x, scale, grad]| self.toward_x(x, scale, grad))?, x);
        let toward_x = x.track_op().then(toward_x).transpose()?;
        if !scale.track_op() && !shift.track_op() {
            return Ok((toward_x, None, None));
        }
        let count = scale.elem_count();
        let (by_scale, by_shift) = with_all([x, &grad], |[x, grad]| self.toward_scale(x, grad, count))?;
        let toward_scale = scale.track_op().then(|| tensor(by_scale, scale)).transpose()?;
        let toward_shift = shift.track_op().then(|| tensor(by_shift, shift)).transpose()?;
        Ok((toward_x, toward_scale, toward_shift))
    }
}
