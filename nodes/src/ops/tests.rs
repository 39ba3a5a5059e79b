//! Every operation passes the gradients that finite differences predict, and keeps the type of its input.

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::Result;

use super::*;

/// Numbers without a pattern, in -1..1.
pub(super) fn scattered(shape: &[usize], seed: usize) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919 + seed * 104729 + 13) as f32 * 0.618).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Compares the gradient of `sum(f(x) * g)` with central differences, argument by argument.
fn gradients_are_right(shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    const STEP: f32 = 1e-2; // float32: the error of the difference is about 1e-4 from either side
    let args: Vec<Var> =
        (shapes.iter().enumerate()).map(|(i, s)| Var::from_tensor(&scattered(s, i)).unwrap()).collect();
    let loss = |args: &[Tensor]| -> Tensor {
        let y = f(args).unwrap();
        let g = scattered(y.dims(), 99);
        (y * g).unwrap().to_dtype(DType::F64).unwrap().sum_all().unwrap()
    };
    let tensors: Vec<Tensor> = args.iter().map(|v| v.as_tensor().clone()).collect();
    let grads = loss(&tensors).backward().unwrap();

    for (i, var) in args.iter().enumerate() {
        let grad = grads.get(var).unwrap_or_else(|| panic!("argument {i} has no gradient"));
        let grad: Vec<f32> = grad.flatten_all().unwrap().to_vec1().unwrap();
        let base: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
        for k in (0..base.len()).step_by(base.len().div_ceil(7)) {
            let at = |step: f32| -> f64 {
                let mut moved = base.clone();
                moved[k] += step;
                let mut args: Vec<Tensor> = tensors.iter().map(Tensor::detach).collect();
                args[i] = Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap();
                loss(&args).to_scalar().unwrap()
            };
            let expected = (at(STEP) - at(-STEP)) / f64::from(2.0 * STEP);
            let found = f64::from(grad[k]);
            let scale = 1f64.max(expected.abs());
            assert!((found - expected).abs() < 5e-3 * scale, "argument {i} at {k}: {found}, not {expected}");
        }
    }
}

#[test]
fn linear_layers_pass_gradients() {
    gradients_are_right(&[&[2, 3, 5], &[4, 5], &[4]], |a| linear(&a[0], &a[1], Some(&a[2])));
}

#[test]
fn lookups_pass_gradients() {
    let ids = Tensor::new(&[[0u32, 2, 2]], &Device::Cpu).unwrap();
    gradients_are_right(&[&[4, 3]], |a| embedding(&a[0], &ids));
}

#[test]
fn convolutions_pass_gradients_at_every_stride_and_padding() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 1, 0), (1, 2, 0), (2, 1, 0)] {
        let weight: &[usize] = &[4, 3, kernel, kernel];
        gradients_are_right(&[&[2, 3, 6, 5], weight, &[4]], |a| {
            conv2d(&a[0], &a[1], Some(&a[2]), stride, padding)
        });
    }
}

#[test]
fn norms_pass_gradients() {
    gradients_are_right(&[&[2, 6, 3, 2], &[6], &[6]], |a| group_norm(&a[0], &a[1], &a[2], 3, 1e-5));
    gradients_are_right(&[&[2, 3, 8], &[8], &[8]], |a| layer_norm(&a[0], &a[1], &a[2], 1e-5));
}

#[test]
fn activations_pass_gradients() {
    for f in [silu, gelu, quick_gelu, geglu, softmax] {
        gradients_are_right(&[&[2, 8]], |a| f(&a[0]));
    }
}

#[test]
fn attention_passes_gradients_with_and_without_a_mask() {
    let mask = Tensor::new(&[[0f32, f32::NEG_INFINITY, 0.], [0., 0., -0.5]], &Device::Cpu).unwrap();
    let shapes: [&[usize]; 3] = [&[2, 2, 8], &[2, 3, 8], &[2, 3, 8]];
    for heads in [1, 2, 4] {
        gradients_are_right(&shapes, |a| attention(&a[0], &a[1], &a[2], heads, None));
        gradients_are_right(&shapes, |a| attention(&a[0], &a[1], &a[2], heads, Some(&mask)));
    }
}

/// The largest difference of two tensors, beside the largest number in them.
fn off(a: &Tensor, b: &Tensor) -> f64 {
    let (a, b) = (a.to_dtype(DType::F64).unwrap(), b.to_dtype(DType::F64).unwrap());
    assert_eq!(a.dims(), b.dims());
    let most = |x: Tensor| x.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
    most((&a - &b).unwrap()) / most(b).max(1.0)
}

/// What a function gives, and the gradient of every argument, in float32 and by candle's operations in float64.
fn is_what_candle_computes(shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>, tolerance: f64) {
    let all = |dtype: DType| {
        let argument = |(i, shape): (usize, &&[usize])| {
            Var::from_tensor(&(scattered(shape, i) * 3.0).unwrap().to_dtype(dtype).unwrap()).unwrap()
        };
        let vars: Vec<Var> = shapes.iter().enumerate().map(argument).collect();
        let args: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let y = f(&args).unwrap();
        let loss = (&y * scattered(y.dims(), 99).to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        let of_vars = vars.iter().map(|var| grads.get(var).expect("a gradient").clone());
        std::iter::once(y.detach()).chain(of_vars).collect::<Vec<_>>()
    };
    for (which, (ours, theirs)) in all(DType::F32).iter().zip(all(DType::F64)).enumerate() {
        let off = off(ours, &theirs);
        assert!(off < tolerance, "{shapes:?}, result {which}: {off}");
    }
}

#[test]
fn attention_in_parts_is_what_candle_computes_at_once() {
    /// The scores go up to 40, of which float32 has 4e-6.
    const OFF: f64 = 1e-5;
    let mask = scattered(&[300, 37], 5);
    for (batch, tokens, keys, width, heads) in [(2, 300, 37, 24, 3), (1, 33, 300, 20, 1), (3, 1, 1, 8, 2)] {
        let shapes: [&[usize]; 3] = [&[batch, tokens, width], &[batch, keys, width], &[batch, keys, width]];
        is_what_candle_computes(&shapes, |a| attention(&a[0], &a[1], &a[2], heads, None), OFF);
        let mask = |x: &Tensor| mask.narrow(0, 0, tokens)?.narrow(1, 0, keys)?.to_dtype(x.dtype());
        if keys <= 37 {
            is_what_candle_computes(
                &shapes,
                |a| attention(&a[0], &a[1], &a[2], heads, Some(&mask(&a[0])?)),
                3e-6,
            );
        }
    }
}

#[test]
fn norms_are_what_candle_computes() {
    for shape in [&[2, 6, 3, 2][..], &[1, 32, 70, 64], &[3, 6, 5000]] {
        let c = [shape[1]];
        let shapes = [shape, &c, &c];
        is_what_candle_computes(&shapes, |a| group_norm(&a[0], &a[1], &a[2], 2, 1e-5), 3e-6);
    }
    for shape in [&[2, 3, 8][..], &[1, 300, 640], &[7]] {
        let d = [*shape.last().unwrap()];
        is_what_candle_computes(&[shape, &d, &d], |a| layer_norm(&a[0], &a[1], &a[2], 1e-5), 3e-6);
    }
}

#[test]
fn activations_are_what_candle_computes() {
    for f in [silu, gelu, quick_gelu, geglu] {
        for shape in [&[2, 8][..], &[3, 130, 640]] {
            is_what_candle_computes(&[shape], |a| f(&(&a[0] * 3.0)?), 3e-6);
        }
    }
}

#[test]
fn a_large_mean_takes_no_precision_from_a_norm() {
    let x = (scattered(&[2, 6, 40, 40], 1) + 1000.0).unwrap();
    let (scale, shift) = (scattered(&[6], 2), scattered(&[6], 3));
    let ours = group_norm(&x, &scale, &shift, 2, 1e-5).unwrap();
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let right = group_norm(&wide(&x), &wide(&scale), &wide(&shift), 2, 1e-5).unwrap();
    assert!(off(&ours, &right) < 2e-4, "{}: a unit in the last place of 1000 is 6e-5", off(&ours, &right));
}

#[test]
fn numbers_that_are_none_stay_so() {
    let x = Tensor::new(&[[f32::NAN, 1.0, f32::INFINITY, -1.0]], &Device::Cpu).unwrap();
    let one = Tensor::ones(4, DType::F32, &Device::Cpu).unwrap();
    for y in [silu(&x), gelu(&x), layer_norm(&x, &one, &one, 1e-5)] {
        assert!(y.unwrap().to_vec2::<f32>().unwrap()[0][0].is_nan());
    }
    let far = Tensor::new(&[-1e30f32, 1e30, f32::INFINITY], &Device::Cpu).unwrap();
    let found = [&silu(&far).unwrap(), &gelu(&far).unwrap()].map(|y| y.to_vec1::<f32>().unwrap());
    assert!(found.iter().all(|y| y[0] == 0.0 && y[1] == 1e30 && y[2] == f32::INFINITY), "{found:?}");
}

#[test]
fn enlarging_passes_gradients_by_whole_and_broken_factors() {
    for (h, w) in [(6, 4), (5, 3), (3, 2)] {
        gradients_are_right(&[&[1, 2, 3, 2]], |a| nearest(&a[0], h, w));
    }
}

#[test]
fn convolution_is_what_candle_computes() {
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 1, 0), (5, 3, 2)] {
        let (x, w) = (scattered(&[2, 4, 9, 14], 1), scattered(&[6, 4, kernel, kernel], 2));
        let ours = conv2d(&x, &w, None, stride, padding).unwrap();
        let theirs = x.conv2d(&w, padding, stride, 1, 1).unwrap();
        assert_eq!(ours.dims(), theirs.dims());
        let worst = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(worst < 1e-5, "{worst}");
    }
}

#[test]
fn half_types_go_in_and_come_out() {
    for dtype in [DType::F16, DType::BF16] {
        let half = |shape: &[usize], seed| scattered(shape, seed).to_dtype(dtype).unwrap();
        let x = half(&[2, 6, 4, 4], 0);
        let rows = x.flatten_from(2).unwrap();
        let results = [
            conv2d(&x, half(&[3, 6, 3, 3], 1), Some(&half(&[3], 2)), 1, 1),
            group_norm(&x, &half(&[6], 1), &half(&[6], 2), 2, 1e-5),
            linear(&x, half(&[5, 4], 1), Some(&half(&[5], 2))),
            layer_norm(&x, &half(&[4], 1), &half(&[4], 2), 1e-5),
            attention(&rows, &rows, &rows, 2, None),
            geglu(&x),
            nearest(&x, 8, 8),
        ];
        assert!(results.into_iter().all(|y| y.unwrap().dtype() == dtype));
    }
}

#[test]
fn a_wrong_width_is_named() {
    let layer =
        Linear { name: "conv_in".into(), weight: scattered(&[4, 5], 0).into(), bias: None, adapt: None };
    let error = format!("{:#}", layer.forward(&scattered(&[2, 3], 1)).unwrap_err());
    assert_eq!(error, "in the linear layer `conv_in`: it takes 5 features, but its input is [2, 3]");
}

#[test]
fn frozen_layers_pass_the_gradient_of_their_input() {
    let (weight, bias) = (scattered(&[4, 5], 7), scattered(&[4], 8));
    gradients_are_right(&[&[3, 5]], |a| linear(&a[0], &weight, Some(&bias)));
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (3, 2, 0), (1, 1, 0), (1, 2, 0), (2, 1, 0)] {
        let weight = scattered(&[4, 3, kernel, kernel], 7);
        for b in [1, 2] {
            gradients_are_right(&[&[b, 3, 6, 5]], |a| conv2d(&a[0], &weight, Some(&bias), stride, padding));
        }
    }
}

#[test]
fn frozen_layers_give_what_the_others_give() {
    let x = scattered(&[2, 3, 9, 7], 1);
    let tracked = Var::from_tensor(&x).unwrap();
    for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 1, 0), (5, 3, 2)] {
        let weight = scattered(&[4, 3, kernel, kernel], 2);
        let both = [&x, tracked.as_tensor()].map(|x| conv2d(x, &weight, None, stride, padding).unwrap());
        let off =
            (&both[0] - &both[1]).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-5, "{off}");
    }
}

/// Orthonormal columns `[d, r]`.
fn orthonormal(d: usize, r: usize) -> Tensor {
    qr(&scattered(&[d, r], 3)).unwrap()
}

#[test]
fn a_span_is_taken_out_of_features_and_of_pictures_with_the_gradient_of_both() {
    let q = orthonormal(6, 2);
    for shape in [&[5, 6][..], &[2, 6, 3, 2]] {
        gradients_are_right(&[shape], |a| take_span(&a[0], &q, 0.7, BasisGradient::OfSpan));
        let h = scattered(shape, 4);
        gradients_are_right(&[&[6, 2]], |a| {
            // Any basis becomes orthonormal first, so that the span is all that the result depends on.
            take_span(&h, &qr(&a[0])?, 0.7, BasisGradient::OfEntries)
        });
    }
}

#[test]
fn the_gradient_of_a_span_is_that_through_a_decomposition() {
    for shape in [&[5, 6][..], &[2, 6, 3, 2]] {
        let (h, basis) = (scattered(shape, 4), Var::from_tensor(&orthonormal(6, 2)).unwrap());
        let gradient = |y: Tensor| {
            let loss = (y * scattered(shape, 9)).unwrap().sum_all().unwrap();
            loss.backward().unwrap().get(&basis).unwrap().clone()
        };
        let of_span = gradient(take_span(&h, &basis, 1.0, BasisGradient::OfSpan).unwrap());
        let q = qr(&basis).unwrap();
        let through_qr = gradient(take_span(&h, &q, 1.0, BasisGradient::OfEntries).unwrap());
        let off =
            (of_span - through_qr).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-5, "{off}");
    }
}

#[test]
fn rotations_pass_gradients_and_are_rotations() {
    gradients_are_right(&[&[2, 3, 3]], |a| cayley(&(&a[0] - a[0].transpose(1, 2)?)?));
    let s = scattered(&[2, 4, 4], 1);
    let r = cayley(&(&s - s.transpose(1, 2).unwrap()).unwrap()).unwrap();
    let gram = r.transpose(1, 2).unwrap().matmul(&r).unwrap();
    let one = Tensor::eye(4, DType::F32, &Device::Cpu).unwrap();
    let off = gram.broadcast_sub(&one).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(off < 1e-5, "{off}");
}

/// A weight of halves that lies somewhere, and the same as a tensor in float32.
fn lying(shape: &[usize], dtype: DType) -> [Weight; 2] {
    let halves = scattered(shape, 7).to_dtype(dtype).unwrap();
    let wide = halves.to_dtype(DType::F32).unwrap();
    let bits = wide.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(|x| match dtype {
        DType::F16 => half::f16::from_f32(x).to_bits(),
        _ => half::bf16::from_f32(x).to_bits(),
    });
    let bytes: Vec<u8> = bits.flat_map(u16::to_le_bytes).collect();
    let range = 0..bytes.len();
    [Weight::lying(std::sync::Arc::new(bytes), range, shape, dtype, DType::F32).unwrap(), wide.into()]
}

/// What a layer gives for some input, and the gradient of the input.
fn both_ways(x: &Tensor, layer: impl Fn(&Tensor) -> Result<Tensor>) -> [Vec<f32>; 2] {
    let x = Var::from_tensor(x).unwrap();
    let y = layer(x.as_tensor()).unwrap();
    let loss = (&y * scattered(y.dims(), 9)).unwrap().sum_all().unwrap();
    let gradient = loss.backward().unwrap().get(&x).unwrap().clone();
    [y, gradient].map(|tensor| tensor.flatten_all().unwrap().to_vec1().unwrap())
}

fn assert_close(found: [Vec<f32>; 2], wanted: [Vec<f32>; 2]) {
    for (found, wanted) in found.iter().zip(&wanted) {
        let most = wanted.iter().fold(0f32, |most, x| most.max(x.abs()));
        assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1e-5 * most), "{most}");
    }
}

#[test]
fn a_layer_of_halves_that_lie_somewhere_is_the_layer_of_their_numbers() {
    for dtype in [DType::F16, DType::BF16] {
        // More rows than are widened together.
        let (x, weights) = (scattered(&[3, 1500], 1), lying(&[1000, 1500], dtype));
        let bias = scattered(&[1000], 2);
        let [found, wanted] = weights.map(|weight| both_ways(&x, |x| linear(x, &weight, Some(&bias))));
        assert_close(found, wanted);
        let (x, weights) = (scattered(&[2, 5, 9, 8], 1), lying(&[7, 5, 3, 3], dtype));
        let [found, wanted] = weights.map(|weight| both_ways(&x, |x| conv2d(x, &weight, None, 2, 1)));
        assert_close(found, wanted);
    }
}
