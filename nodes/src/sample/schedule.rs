//! How much noise a timestep of training has.
//!
//! Everything follows diffusers number for number: its tables are float32, computed in float32 (with the running
//! product in float64, as PyTorch's `cumprod` has it).

use candle_core::Tensor;
use flow_engine::Result;

use crate::sdxl::config::{BetaSchedule, SchedulerConfig};

/// The noise of training.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f32>,
    config: SchedulerConfig,
}

impl NoiseSchedule {
    /// From a model's scheduler settings.
    pub fn new(config: &SchedulerConfig) -> Self {
        let betas = betas(config);
        let betas = if config.rescale_betas_zero_snr { zero_terminal_snr(&betas) } else { betas };
        Self { alphas_cumprod: running_product(betas.iter().map(|beta| 1.0 - beta)), config: config.clone() }
    }

    /// The settings it was made from.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// The share of signal (as variance) left at each training timestep, falling from about 1 to about 0.
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// The share of signal at `timestep`; before the first one, what the settings say the walk ends on.
    pub fn alpha(&self, timestep: i64) -> f64 {
        let at = |t: usize| f64::from(self.alphas_cumprod[t.min(self.alphas_cumprod.len() - 1)]);
        match usize::try_from(timestep) {
            Ok(timestep) => at(timestep),
            Err(_) if self.config.set_alpha_to_one => 1.0,
            Err(_) => at(0),
        }
    }

    /// Training's noisy latents, `sqrt(a) x0 + sqrt(1 - a) noise`, with `a` by each sample's timestep.
    ///
    /// `x0` and `noise` `[b, c, h, w]`, one timestep per sample.
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        self.mix(x0, noise, timesteps, |a| (a.sqrt(), (1.0 - a).sqrt()))
    }

    /// What a network that predicts velocity is to say, `sqrt(a) noise - sqrt(1 - a) x0`.
    pub fn velocity(&self, x0: &Tensor, noise: &Tensor, timesteps: &[usize]) -> Result<Tensor> {
        self.mix(x0, noise, timesteps, |a| (-(1.0 - a).sqrt(), a.sqrt()))
    }

    fn mix(
        &self,
        x0: &Tensor,
        noise: &Tensor,
        timesteps: &[usize],
        shares: impl Fn(f64) -> (f64, f64),
    ) -> Result<Tensor> {
        let b = x0.dim(0)?;
        anyhow::ensure!(b == timesteps.len(), "{} timesteps for {b} samples", timesteps.len());
        let shares = timesteps.iter().map(|&t| shares(self.alpha(t as i64)));
        let (signal, chance): (Vec<f32>, Vec<f32>) = shares.map(|(s, n)| (s as f32, n as f32)).unzip();
        let column = |values| Tensor::from_vec(values, (b, 1, 1, 1), x0.device());
        Ok((x0.broadcast_mul(&column(signal)?)? + noise.broadcast_mul(&column(chance)?)?)?)
    }
}

fn betas(config: &SchedulerConfig) -> Vec<f32> {
    if let Some(betas) = &config.trained_betas {
        return betas.clone();
    }
    let (n, start, end) = (config.num_train_timesteps, config.beta_start, config.beta_end);
    match config.beta_schedule {
        BetaSchedule::Linear => linspace(start, end, n),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt(), end.sqrt(), n).into_iter().map(|x| x * x).collect()
        }
        BetaSchedule::SquaredcosCapV2 => {
            let signal = |i: usize| {
                (((i as f64 / n as f64 + 0.008) / 1.008) * std::f64::consts::FRAC_PI_2).cos().powi(2)
            };
            (0..n).map(|i| (1.0 - signal(i + 1) / signal(i)).min(0.999) as f32).collect()
        }
    }
}

/// As `torch.linspace` in float32: from both ends to the middle, each product and sum rounded once.
fn linspace(start: f64, end: f64, n: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / (n - 1) as f32;
    let at = |i: usize| {
        if i < n / 2 { step.mul_add(i as f32, start) } else { (-step).mul_add((n - 1 - i) as f32, end) }
    };
    (0..n).map(at).collect()
}

fn running_product(factors: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut product = 1f64;
    let next = |factor: f32| {
        product *= f64::from(factor);
        product as f32
    };
    factors.map(next).collect()
}

/// Betas under which the last timestep is pure noise (Lin et al. 2023, arXiv 2305.08891, algorithm 1).
fn zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> =
        running_product(betas.iter().map(|beta| 1.0 - beta)).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretched = roots.iter().map(|root| (root - last) * (first / (first - last)));
    let alphas_bar: Vec<f32> = stretched.map(|root| root * root).collect();
    let ratios = alphas_bar.windows(2).map(|pair| pair[1] / pair[0]);
    std::iter::once(alphas_bar[0]).chain(ratios).map(|alpha| 1.0 - alpha).collect()
}
