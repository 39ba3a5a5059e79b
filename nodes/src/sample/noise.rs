//! Noise that is the same everywhere: PyTorch's CPU generator, bit for bit but for rounding.
//!
//! A seed gives the picture that diffusers gives with `torch.Generator("cpu").manual_seed(seed)`, on every device and
//! platform: the arithmetic is in float64 and rounded once, so that no platform's float32 logarithm matters.

use std::f64::consts::TAU;

use candle_core::{Device, Tensor};
use flow_engine::Result;
use rand_mt::Mt;

/// PyTorch draws this many values or more in blocks, and fewer one by one.
const BLOCK: usize = 16;

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Generator {
    words: Mt,
    /// The second half of a pair that was drawn for one value.
    kept: Option<f64>,
}

impl Generator {
    /// The stream of a seed. Like PyTorch's, it takes the low 32 bits.
    pub fn new(seed: u64) -> Self {
        Self { words: Mt::new(seed as u32), kept: None }
    }

    /// Standard normal noise of a shape, on the CPU in float32; draws go on where the last one ended.
    pub fn randn(&mut self, shape: &[usize]) -> Result<Tensor> {
        let n = shape.iter().product();
        let values = if n < BLOCK { (0..n).map(|_| self.one()).collect() } else { self.blocks(n) };
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }

    /// `normal_fill` of PyTorch: uniforms for everything, turned into normals block by block; what does not fill a
    /// block has the last one drawn anew.
    fn blocks(&mut self, n: usize) -> Vec<f32> {
        let mut values: Vec<f64> = (0..n).map(|_| self.uniform_24()).collect();
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !n.is_multiple_of(BLOCK) {
            let last = &mut values[n - BLOCK..];
            last.fill_with(|| self.uniform_24());
            box_muller(last);
        }
        values.into_iter().map(|x| x as f32).collect()
    }

    /// `normal_distribution<double>` of PyTorch: pairs, of which the second is kept.
    fn one(&mut self) -> f32 {
        if let Some(kept) = self.kept.take() {
            return kept as f32;
        }
        let (turn, distance) = (self.uniform_53(), self.uniform_53());
        let radius = (-2.0 * (-distance).ln_1p()).sqrt();
        self.kept = Some(radius * (TAU * turn).sin());
        (radius * (TAU * turn).cos()) as f32
    }

    /// In 0..1, of 24 bits.
    fn uniform_24(&mut self) -> f64 {
        f64::from(self.words.next_u32() & 0xff_ffff) / f64::from(1u32 << 24)
    }

    /// In 0..1, of 53 bits.
    fn uniform_53(&mut self) -> f64 {
        let (high, low) = (u64::from(self.words.next_u32()), u64::from(self.words.next_u32()));
        ((high << 32 | low) & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }
}

/// Uniforms to normals in place: the first half gives radii and the second half angles.
fn box_muller(block: &mut [f64]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (u1, u2) in radii.iter_mut().zip(angles) {
        let (radius, angle) = ((-2.0 * (1.0 - *u1).ln()).sqrt(), TAU * *u2);
        (*u1, *u2) = (radius * angle.cos(), radius * angle.sin());
    }
}

/// Noise for several pictures, `[generators, ..shape]`: each picture's from its own generator.
pub fn randn_each(generators: &mut [Generator], shape: &[usize]) -> Result<Tensor> {
    let each = generators.iter_mut().map(|generator| generator.randn(shape));
    Ok(Tensor::stack(&each.collect::<Result<Vec<_>>>()?, 0)?)
}
