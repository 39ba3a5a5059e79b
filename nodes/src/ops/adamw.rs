//! A step of AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101), in the memory of what it moves.
//!
//! ```text
//! m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g²
//! w <- (1 - lr decay) w - lr / (1 - b1ⁿ) · m / (sqrt(v / (1 - b2ⁿ)) + eps)
//! ```

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};

use super::is_f32_on_cpu;
use super::lanes::{for_parts, wide};
use super::values::contiguous_f32;

/// Numbers that are moved together.
const PART: usize = 1 << 13;

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// How slowly the means of gradients and of their squares move.
    pub betas: [f64; 2],
    /// Added to the root of the mean square.
    pub eps: f64,
    /// The learning rate.
    pub rate: f64,
    /// The share, times the learning rate, that a parameter loses.
    pub weight_decay: f64,
    /// Its number, from 1.
    pub number: usize,
}

impl AdamWStep {
    /// Moves a parameter and the running means of its gradient and of its square. On a CPU all three are changed where they
    /// lie, for everyone who holds them.
    ///
    /// # Errors
    /// A gradient of another shape.
    pub fn take(
        self,
        parameter: &Var,
        [m, v]: &mut [Tensor; 2],
        gradient: &Tensor,
    ) -> flow_engine::Result<()> {
        let gradient = gradient.detach();
        if !is_f32_on_cpu(parameter) || !m.is_contiguous() || !v.is_contiguous() || !parameter.is_contiguous()
        {
            return self.composed(parameter, [m, v], &gradient);
        }
        let gradient = gradient.contiguous()?;
        let [b1, b2] = self.betas;
        m.inplace_op2(&gradient, &Follow { beta: b1 as f32, rest: (1.0 - b1) as f32, squares: false })?;
        v.inplace_op2(&gradient, &Follow { beta: b2 as f32, rest: (1.0 - b2) as f32, squares: true })?;
        Ok(parameter.inplace_op3(m, v, &self)?)
    }

    /// The same in candle's operations.
    fn composed(
        self,
        parameter: &Var,
        [m, v]: [&mut Tensor; 2],
        gradient: &Tensor,
    ) -> flow_engine::Result<()> {
        let [b1, b2] = self.betas;
        *m = ((&*m * b1)? + (gradient * (1.0 - b1))?)?.detach();
        *v = ((&*v * b2)? + (gradient.sqr()? * (1.0 - b2))?)?.detach();
        let [first, second] = self.shares();
        let root = ((v.sqrt()? / second.sqrt())? + self.eps)?;
        let kept = (parameter.as_detached_tensor() * (1.0 - self.rate * self.weight_decay))?;
        Ok(parameter.set(&(kept - ((&*m / root)? * (self.rate / first))?)?)?)
    }

    /// How much of a mean is there after so many steps, of both.
    fn shares(self) -> [f64; 2] {
        self.betas.map(|beta| 1.0 - beta.powi(i32::try_from(self.number).unwrap_or(i32::MAX)))
    }
}

/// The numbers of a contiguous tensor, to be changed.
fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
        candle_core::bail!("what a step moves is contiguous and in float32")
    };
    Ok(&mut values[start..end])
}

fn same_length(a: usize, b: usize) -> Result<()> {
    if a == b { Ok(()) } else { candle_core::bail!("{a} numbers cannot follow {b}") }
}

/// A mean that follows numbers, or their squares.
struct Follow {
    beta: f32,
    rest: f32,
    squares: bool,
}

impl InplaceOp2 for Follow {
    fn name(&self) -> &'static str {
        "follow"
    }

    fn cpu_fwd(&self, mean: &mut CpuStorage, at: &Layout, by: &CpuStorage, by_at: &Layout) -> Result<()> {
        let (mean, by) = (values_mut(mean, at)?, contiguous_f32(by, by_at)?);
        same_length(mean.len(), by.len())?;
        let &Self { beta, rest, squares } = self;
        for_parts(mean, PART, |i, mean| {
            let by = &by[i * PART..][..mean.len()];
            wide(|| match squares {
                false => mean.iter_mut().zip(by).for_each(|(m, g)| *m = beta * *m + rest * g),
                true => mean.iter_mut().zip(by).for_each(|(v, g)| *v = beta * *v + rest * (g * g)),
            });
        });
        Ok(())
    }
}

impl InplaceOp3 for AdamWStep {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        at: &Layout,
        m: &CpuStorage,
        m_at: &Layout,
        v: &CpuStorage,
        v_at: &Layout,
    ) -> Result<()> {
        let (parameter, m, v) =
            (values_mut(parameter, at)?, contiguous_f32(m, m_at)?, contiguous_f32(v, v_at)?);
        same_length(parameter.len(), m.len())?;
        same_length(parameter.len(), v.len())?;
        let [first, second] = self.shares();
        let kept = (1.0 - self.rate * self.weight_decay) as f32;
        let (share, root_share, eps) = ((self.rate / first) as f32, second.sqrt() as f32, self.eps as f32);
        for_parts(parameter, PART, |i, parameter| {
            let (m, v) = (&m[i * PART..][..parameter.len()], &v[i * PART..][..parameter.len()]);
            wide(|| {
                parameter.iter_mut().zip(m).zip(v).for_each(|((w, m), v)| {
                    *w = kept * *w - share * (m / (v.sqrt() / root_share + eps));
                });
            });
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn normal(count: usize) -> Tensor {
        Tensor::randn(0f32, 1.0, count, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_step_in_place_is_the_step() {
        let count = 3 * PART + 17;
        let start = normal(count);
        let [mut in_place, mut composed] = [(); 2].map(|()| {
            let zeros = || start.zeros_like().unwrap();
            (Var::from_tensor(&start).unwrap(), [zeros(), zeros()])
        });
        for number in 1..=4 {
            let step = AdamWStep { betas: [0.9, 0.999], eps: 1e-8, rate: 0.05, weight_decay: 0.1, number };
            let gradient = normal(count);
            step.take(&in_place.0, &mut in_place.1, &gradient).unwrap();
            let [m, v] = &mut composed.1;
            step.composed(&composed.0, [m, v], &gradient).unwrap();
        }
        let pairs = [
            (in_place.0.as_tensor(), composed.0.as_tensor()),
            (&in_place.1[0], &composed.1[0]),
            (&in_place.1[1], &composed.1[1]),
        ];
        for (found, wanted) in pairs {
            let off = (found - wanted).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert!(off < 1e-6, "{off}");
        }
    }

    #[test]
    fn a_gradient_of_another_shape_is_refused() {
        let parameter = Var::from_tensor(&normal(4)).unwrap();
        let mut moments = [normal(4), normal(4)];
        let step = AdamWStep { betas: [0.9, 0.999], eps: 1e-8, rate: 0.1, weight_decay: 0.0, number: 1 };
        assert!(step.take(&parameter, &mut moments, &normal(3)).is_err());
    }
}
