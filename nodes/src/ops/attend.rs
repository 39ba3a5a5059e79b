//! Attention in one operation on a CPU, forward and back, with memory that is linear in the tokens.
//!
//! Some queries at a time look at all keys: their scores, the softmax of them and the product with the values stay in
//! the cache, and the scores of all queries are never there at once. The way back computes them again (Dao et al. 2022,
//! arXiv 2205.14135, appendix B.4). With `P = softmax(s Q Kᵀ)`, `O = P V` and `E` the gradient of `O`,
//!
//! ```text
//! dV = Pᵀ E,   D = P ∘ (E Vᵀ - rowsum(P ∘ E Vᵀ)),   dQ = s D K,   dK = s Dᵀ Q
//! ```
//!
//! Heads stand side by side in the features of a token, and are read and written where they stand.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::lanes::{exp, largest, total, wide};
use super::product::{Product, View};
use super::values::{contiguous_f32, with_all, with_some};

/// Scores that a thread holds at once, in elements.
const HELD: usize = 2 << 20;
/// Queries taken together, at least and at most; below, the keys are read too often.
const TOGETHER: (usize, usize) = (16, 256);

/// Attention of `q` `[b, tokens, heads d]` to `k` and `v` `[b, tokens_k, heads d]`.
#[derive(Debug, Clone)]
pub(super) struct Attend {
    /// Into how many heads the features fall.
    pub heads: usize,
    /// Added to the scores, `[tokens, tokens_k]`, contiguous in float32.
    pub mask: Option<Tensor>,
}

/// The sizes of one attention.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    tokens: usize,
    tokens_k: usize,
    /// Features of a head.
    d: usize,
}

/// What one head of one picture reads, each with all heads' features from one token to the next.
#[derive(Clone, Copy)]
struct Head<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    mask: Option<&'a [f32]>,
}

impl Sizes {
    fn of(q: &[usize], k: &[usize], heads: usize) -> Result<Self> {
        match (q, k) {
            (&[batch, tokens, width], &[batch_k, tokens_k, width_k])
                if batch == batch_k && width == width_k && heads > 0 && width.is_multiple_of(heads) =>
            {
                Ok(Self { batch, heads, tokens, tokens_k, d: width / heads })
            }
            _ => candle_core::bail!("{heads} heads of {q:?} cannot look at {k:?}"),
        }
    }

    /// Features of a token.
    fn width(self) -> usize {
        self.heads * self.d
    }

    fn scale(self) -> f32 {
        (self.d as f32).powf(-0.5)
    }

    /// Queries taken together, so that every thread has some.
    fn together(self) -> usize {
        let room = HELD / self.tokens_k.max(1);
        let share = (self.batch * self.tokens).div_ceil(candle_core::utils::get_num_threads());
        room.min(share).clamp(TOGETHER.0, TOGETHER.1).min(self.tokens.max(1))
    }

    /// What a head of a picture reads of everything.
    fn head<'a>(
        self,
        [q, k, v]: [&'a [f32]; 3],
        mask: Option<&'a [f32]>,
        picture: usize,
        head: usize,
    ) -> Head<'a> {
        let (w, at) = (self.width(), head * self.d);
        let of = |x: &'a [f32], tokens: usize| &x[picture * tokens * w + at..];
        Head { q: of(q, self.tokens), k: of(k, self.tokens_k), v: of(v, self.tokens_k), mask }
    }

    /// The probabilities of `count` queries from `first` on, before each row is divided by its sum; the sums.
    fn probabilities(self, head: Head<'_>, first: usize, count: usize, p: &mut [f32], sums: &mut [f32]) {
        let (w, keys) = (self.width(), self.tokens_k);
        let q = View::rows(&head.q[first * w..], w);
        let scores = Product::of([count, keys, self.d], q, View::transposed(head.k, w));
        scores.threads(false).into(p, keys);
        let scale = self.scale();
        for (i, (row, sum)) in p.chunks_exact_mut(keys).zip(sums).enumerate() {
            let mask = head.mask.map(|mask| &mask[(first + i) * keys..][..keys]);
            *sum = wide(|| exponentials(row, scale, mask));
        }
    }
}

/// Turns scores into `exp(scale score + mask - the largest of these)`, and gives their sum.
#[inline(always)]
fn exponentials(row: &mut [f32], scale: f32, mask: Option<&[f32]>) -> f32 {
    match mask {
        None => row.iter_mut().for_each(|score| *score *= scale),
        Some(mask) => row.iter_mut().zip(mask).for_each(|(score, &mask)| *score = *score * scale + mask),
    }
    let most = largest(row);
    row.iter_mut().for_each(|score| *score = exp(*score - most));
    total(row, row, |p, _| p) as f32
}

/// Divides each row by its sum.
fn divide(rows: &mut [f32], length: usize, apart: usize, sums: &[f32]) {
    for (row, sum) in rows.chunks_mut(apart).zip(sums) {
        let share = 1.0 / sum;
        wide(|| row[..length].iter_mut().for_each(|x| *x *= share));
    }
}

fn forward(sizes: Sizes, inputs: [&[f32]; 3], mask: Option<&[f32]>) -> Vec<f32> {
    let (w, tokens, keys, d) = (sizes.width(), sizes.tokens, sizes.tokens_k, sizes.d);
    let mut out = vec![0f32; sizes.batch * tokens * w];
    let together = sizes.together();
    let some = |picture: usize, i: usize, to: &mut [f32], p: &mut Vec<f32>| {
        let (first, count) = (i * together, to.len() / w);
        p.resize(count * keys, 0.0);
        let mut sums = vec![0f32; count];
        for h in 0..sizes.heads {
            let head = sizes.head(inputs, mask, picture, h);
            sizes.probabilities(head, first, count, p, &mut sums);
            let seen = Product::of([count, d, keys], View::rows(p, keys), View::rows(head.v, w));
            seen.threads(false).into(&mut to[h * d..], w);
            divide(&mut to[h * d..], d, w, &sums);
        }
    };
    let pictures = out.par_chunks_mut((tokens * w).max(1)).enumerate();
    pictures.for_each(|(picture, out)| {
        let parts = out.par_chunks_mut((together * w).max(1)).enumerate();
        parts.for_each_init(Vec::new, |p, (i, to)| some(picture, i, to, p));
    });
    out
}

/// The gradients of one head of one picture, features of the head only.
struct HeadGradients {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

fn head_back(sizes: Sizes, head: Head<'_>, grad: &[f32]) -> HeadGradients {
    let (w, tokens, keys, d) = (sizes.width(), sizes.tokens, sizes.tokens_k, sizes.d);
    let together = sizes.together();
    let mut to = HeadGradients { q: vec![0.0; tokens * d], k: vec![0.0; keys * d], v: vec![0.0; keys * d] };
    let (mut p, mut e) = (Vec::new(), Vec::new());
    for first in (0..tokens).step_by(together) {
        let count = together.min(tokens - first);
        let mut sums = vec![0f32; count];
        p.resize(count * keys, 0.0);
        e.resize(count * keys, 0.0);
        sizes.probabilities(head, first, count, &mut p, &mut sums);
        divide(&mut p, keys, keys, &sums);
        let grad = View::rows(&grad[first * w..], w);
        let product = |sizes, left, right| Product::of(sizes, left, right).threads(false);
        product([keys, d, count], View::transposed(&p, keys), grad).adding(1.0).into(&mut to.v, d);
        product([count, keys, d], grad, View::transposed(head.v, w)).into(&mut e, keys);
        for (p, e) in p.chunks_exact(keys).zip(e.chunks_exact_mut(keys)) {
            wide(|| through_softmax(p, e, sizes.scale()));
        }
        product([count, d, keys], View::rows(&e, keys), View::rows(head.k, w))
            .into(&mut to.q[first * d..], d);
        let q = View::rows(&head.q[first * w..], w);
        product([keys, d, count], View::transposed(&e, keys), q).adding(1.0).into(&mut to.k, d);
    }
    to
}

/// Turns the gradient of probabilities into that of scores before they were scaled.
#[inline(always)]
fn through_softmax(p: &[f32], e: &mut [f32], scale: f32) {
    let along = total(p, e, |p, e| p * e) as f32;
    e.iter_mut().zip(p).for_each(|(e, &p)| *e = scale * p * (*e - along));
}

/// The gradients of queries, keys and values, each of the shape of what they are of.
fn back(sizes: Sizes, inputs: [&[f32]; 3], mask: Option<&[f32]>, grad: &[f32]) -> [Vec<f32>; 3] {
    let (w, d) = (sizes.width(), sizes.d);
    let heads = (0..sizes.batch * sizes.heads).into_par_iter().map(|at| {
        let (picture, h) = (at / sizes.heads, at % sizes.heads);
        let grad = &grad[picture * sizes.tokens * w + h * d..];
        head_back(sizes, sizes.head(inputs, mask, picture, h), grad)
    });
    let heads: Vec<HeadGradients> = heads.collect();
    let side_by_side = |tokens: usize, of: fn(&HeadGradients) -> &[f32]| {
        let mut out = vec![0f32; sizes.batch * tokens * w];
        for (token, to) in out.chunks_exact_mut(d.max(1)).enumerate() {
            let (row, h) = (token / sizes.heads, token % sizes.heads);
            let from = of(&heads[row / tokens * sizes.heads + h]);
            to.copy_from_slice(&from[row % tokens * d..][..d]);
        }
        out
    };
    [
        side_by_side(sizes.tokens, |head| &head.q),
        side_by_side(sizes.tokens_k, |head| &head.k),
        side_by_side(sizes.tokens_k, |head| &head.v),
    ]
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attend"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_at: &Layout,
        k: &CpuStorage,
        k_at: &Layout,
        v: &CpuStorage,
        v_at: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(q_at.dims(), k_at.dims(), self.heads)?;
        if v_at.dims() != k_at.dims() {
            candle_core::bail!("keys {:?} and values {:?} differ", k_at.dims(), v_at.dims());
        }
        if let Some(mask) = &self.mask
            && mask.dims() != [sizes.tokens, sizes.tokens_k]
        {
            candle_core::bail!(
                "a mask {:?} for {} queries and {} keys",
                mask.dims(),
                sizes.tokens,
                sizes.tokens_k
            );
        }
        let inputs = [contiguous_f32(q, q_at)?, contiguous_f32(k, k_at)?, contiguous_f32(v, v_at)?];
        let out = with_some(self.mask.as_ref(), |mask| forward(sizes, inputs, mask))?;
        Ok((CpuStorage::F32(out), q_at.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(q.dims(), k.dims(), self.heads)?;
        let grad = grad.contiguous()?;
        let [by_q, by_k, by_v] = with_all([q, k, v, &grad], |[q, k, v, grad]| {
            with_some(self.mask.as_ref(), |mask| back(sizes, [q, k, v], mask, grad))
        })??;
        let wanted = |x: &Tensor, values: Vec<f32>| {
            x.track_op().then(|| Tensor::from_vec(values, x.shape(), x.device())).transpose()
        };
        Ok((wanted(q, by_q)?, wanted(k, by_k)?, wanted(v, by_v)?))
    }
}
