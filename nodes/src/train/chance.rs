//! Chance that a seed and a few numbers decide: every draw has an address, and none depends on those before it.

use candle_core::Tensor;
use flow_engine::{Digest, Result};

use crate::sample::Generator;

/// What a draw is for; two purposes never share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The first values of a layer's parameters.
    Start,
    /// The order of the pictures in a pass through them.
    Order,
    /// Everything that a step draws for one picture.
    Step,
    /// The fixed timesteps and noise of the validation.
    Validation,
}

/// The numbers of one address.
#[derive(Debug)]
pub struct Chance {
    normals: Generator,
    digest: Digest,
    drawn: u64,
}

impl Chance {
    /// The numbers of a purpose: `which` tells apart what has the same purpose, the step and the picture say.
    pub fn new(seed: u64, purpose: Purpose, which: &[u64]) -> Self {
        let mut said = format!("{seed} {purpose:?}");
        which.iter().for_each(|number| said.push_str(&format!(" {number}")));
        let digest = Digest::of(said.as_bytes());
        let first = u32::from_le_bytes([0, 1, 2, 3].map(|at| digest.as_bytes()[at]));
        Self { normals: Generator::new(u64::from(first)), digest, drawn: 0 }
    }

    /// Standard normal noise of a shape, on the CPU in float32.
    ///
    /// # Errors
    /// None for shapes that fit into memory.
    pub fn normal(&mut self, shape: &[usize]) -> Result<Tensor> {
        self.normals.randn(shape)
    }

    /// In 0..1, of 53 bits.
    pub fn uniform(&mut self) -> f64 {
        self.drawn += 1;
        let said = Digest::of_parts([&self.digest.as_bytes()[..], &self.drawn.to_le_bytes()]);
        let bits = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|at| said.as_bytes()[at]));
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number below `end`, 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.uniform() * end as f64) as usize).min(end.saturating_sub(1))
    }

    /// The numbers below `count` in some order (Fisher and Yates).
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            let other = self.below(at + 1);
            order.swap(at, other);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_always_has_the_same_numbers_and_others_have_others() {
        let drawn = |seed, purpose, which: &[u64]| {
            let mut chance = Chance::new(seed, purpose, which);
            let normal = chance.normal(&[3]).unwrap().to_vec1::<f32>().unwrap();
            (normal, chance.uniform().to_bits(), chance.order(9))
        };
        let first = drawn(1, Purpose::Step, &[2, 3]);
        assert_eq!(first, drawn(1, Purpose::Step, &[2, 3]));
        for other in [
            drawn(2, Purpose::Step, &[2, 3]),
            drawn(1, Purpose::Order, &[2, 3]),
            drawn(1, Purpose::Step, &[23]),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn orders_have_every_number_once_and_uniforms_fill_their_range() {
        let mut chance = Chance::new(0, Purpose::Order, &[]);
        let mut order = chance.order(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
        let drawn: Vec<f64> = (0..4000).map(|_| chance.uniform()).collect();
        let mean = drawn.iter().sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02 && drawn.iter().all(|value| (0.0..1.0).contains(value)), "{mean}");
        assert!((0..1000).all(|_| chance.below(3) < 3) && chance.below(0) == 0);
    }
}
