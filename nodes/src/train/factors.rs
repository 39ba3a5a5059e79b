//! Factors whose product is a change of the weight: what LoRA, LoHa and LoKr have in common.

use candle_core::{Device, Tensor, Var};
use flow_engine::Result;

use super::chance::Chance;
use super::layer::{Base, parameter};

/// The trained factors of a layer and what their product counts.
#[derive(Debug)]
pub(super) struct Factors<const N: usize> {
    /// How the name of each one's tensor ends in a file; in the layer it is called so without the dot.
    ends: [&'static str; N],
    factors: Vec<Var>,
    /// `alpha / rank`.
    pub scale: f64,
    /// The rank that a file's alpha is divided by.
    rank: usize,
}

impl<const N: usize> Factors<N> {
    /// Factors that start so. A bound that cuts the rank to `rank` leaves what each of the `wanted` ranks counts.
    pub fn new(
        named: [(&'static str, Tensor); N],
        (alpha, wanted, rank): (Option<f64>, usize, usize),
        base: &Base<'_>,
    ) -> Result<Self> {
        let factors =
            named.iter().map(|(_, start)| parameter(start, base.device())).collect::<Result<_>>()?;
        let scale = alpha.unwrap_or(wanted as f64) / wanted as f64;
        Ok(Self { ends: named.map(|(end, _)| end), factors, scale, rank })
    }

    /// The factors in their order.
    pub fn tensors(&self) -> [&Tensor; N] {
        std::array::from_fn(|at| self.factors[at].as_tensor())
    }

    /// See [`TrainedLayer::parameters`](super::layer::TrainedLayer::parameters).
    pub fn parameters(&self) -> Vec<(&'static str, &Var)> {
        self.ends.into_iter().map(|end| end.trim_start_matches('.')).zip(&self.factors).collect()
    }

    /// See [`TrainedLayer::pieces`](super::layer::TrainedLayer::pieces): the factors as they are, and the alpha.
    pub fn pieces(&self, values: &[Tensor]) -> Result<Vec<(&'static str, Tensor)>> {
        let factors = self.ends.into_iter().zip(values.iter().cloned());
        let alpha = Tensor::new((self.scale * self.rank as f64) as f32, &Device::Cpu)?;
        Ok(factors.chain([(".alpha", alpha)]).collect())
    }
}

/// What kohya's tools want to read of a network.
pub(super) fn network(module: &str, rank: usize, alpha: Option<f64>) -> Vec<(String, String)> {
    vec![
        ("ss_network_module".into(), module.to_owned()),
        ("ss_network_dim".into(), rank.to_string()),
        ("ss_network_alpha".into(), alpha.unwrap_or(rank as f64).to_string()),
    ]
}

/// PyTorch's start of a linear layer: uniform within `1 / sqrt(k)`.
pub(super) fn kaiming(shape: &[usize], k: usize, chance: &mut Chance) -> Result<Tensor> {
    let most = (k as f64).powf(-0.5);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| ((2.0 * chance.uniform() - 1.0) * most) as f32).collect();
    Ok(Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?)
}
