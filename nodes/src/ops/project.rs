//! Taking a span out of a matrix in place, for weights that are folded by the gigabyte.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor};

use super::product::{Product, View};

/// `weight - q qᵀ weight`: `weight` `[d, ..]` in float32, orthonormal `q` `[d, r]` on the same device.
///
/// On the CPU the weight is changed where it lies, so it must be nobody else's: in two passes, and with no copy.
///
/// # Errors
/// Shapes that do not fit.
pub fn remove_span(weight: Tensor, q: &Tensor) -> flow_engine::Result<Tensor> {
    let shape = weight.shape().clone();
    let matrix = weight.flatten_from(1)?;
    anyhow::ensure!(q.dims2()?.0 == matrix.dim(0)?, "a span {:?} does not fit a weight {shape:?}", q.dims());
    if !weight.device().is_cpu() || !matrix.is_contiguous() || q.elem_count() == 0 {
        let removed = q.matmul(&q.t()?.matmul(&matrix)?)?;
        return Ok((matrix - removed)?.reshape(shape)?);
    }
    matrix.inplace_op2(&q.contiguous()?, &RemoveSpan)?;
    Ok(weight)
}

struct RemoveSpan;

impl InplaceOp2 for RemoveSpan {
    fn name(&self) -> &'static str {
        "remove-span"
    }

    fn cpu_fwd(&self, w: &mut CpuStorage, layout: &Layout, q: &CpuStorage, q_layout: &Layout) -> Result<()> {
        let (d, k) = layout.shape().dims2()?;
        let r = q_layout.shape().dims2()?.1;
        let q = &q.as_slice::<f32>()?[q_layout.start_offset()..][..d * r];
        let CpuStorage::F32(w) = w else { candle_core::bail!("a weight is folded in float32") };
        let w = &mut w[layout.start_offset()..][..d * k];
        let mut y = vec![0f32; r * k];
        let (left, right) = (View::transposed(q, r), View::rows(w, k));
        Product::of([r, k, d], left, right).into(&mut y, k);
        let (left, right) = (View::rows(q, r), View::rows(&y, k));
        Product::of([d, k, r], left, right).adding(-1.0).into(w, k);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;

    fn product(weight: &Tensor, q: &Tensor) -> Tensor {
        let w = weight.flatten_from(1).unwrap();
        let removed = q.matmul(&q.t().unwrap().matmul(&w).unwrap()).unwrap();
        (w - removed).unwrap().reshape(weight.shape()).unwrap()
    }

    proptest! {
        #[test]
        fn what_is_taken_out_in_place_is_the_product_of_three(d in 1usize..40, k in 1usize..70, r in 1usize..9) {
            let weight = Tensor::randn(0f32, 1.0, (d, k), &Device::Cpu).unwrap();
            let q = Tensor::randn(0f32, 0.3, (d, r), &Device::Cpu).unwrap();
            let wanted = product(&weight, &q);
            let found = remove_span(weight.copy().unwrap(), &q).unwrap();
            let off = (found - wanted).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            prop_assert!(off < 1e-4, "{off}");
        }
    }

    #[test]
    fn a_kernel_is_a_matrix_of_its_output_channels() {
        let weight = Tensor::randn(0f32, 1.0, (8, 3, 3, 3), &Device::Cpu).unwrap();
        let q = Tensor::eye(8, DType::F32, &Device::Cpu).unwrap().narrow(1, 0, 2).unwrap();
        let found = remove_span(weight.copy().unwrap(), &q).unwrap().flatten_from(1).unwrap();
        let rows = found.to_vec2::<f32>().unwrap();
        assert!(rows[0].iter().chain(&rows[1]).all(|&value| value == 0.0));
        assert_eq!(rows[2..], weight.flatten_from(1).unwrap().to_vec2::<f32>().unwrap()[2..]);
    }

    #[test]
    fn a_span_of_nothing_takes_nothing() {
        let weight = Tensor::ones((4, 5), DType::F32, &Device::Cpu).unwrap();
        let q = Tensor::zeros((4, 0), DType::F32, &Device::Cpu).unwrap();
        let found = remove_span(weight.copy().unwrap(), &q).unwrap();
        assert_eq!(found.to_vec2::<f32>().unwrap(), weight.to_vec2::<f32>().unwrap());
    }
}
