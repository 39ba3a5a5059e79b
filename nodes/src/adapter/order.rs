//! What the order of two adapters does: how much of a LoRA a later PaRa erases, and how far two PaRas in turn are from
//! their joint removal.

use flow_engine::Result;

use super::basis::{self, Matrix, principal_cosines};
use super::fold::Applied;
use super::low_rank::LowRank;
use super::names::Target;
use super::para;
use crate::model::Model;

/// How a PaRa and a LoRA before it meet on one layer.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The layer.
    pub target: Target,
    /// `‖Q Qᵀ B A‖`, at the LoRA's scale.
    pub erased: f64,
    /// `‖B A‖`.
    pub added: f64,
    /// The cosines of the principal angles between the spans of `Q` and `B`, the largest first.
    pub cosines: Vec<f64>,
}

/// How much of one LoRA one later PaRa erases.
#[derive(Debug, Clone)]
pub struct Erased {
    /// The PaRa's name.
    pub para: String,
    /// The LoRA's name.
    pub lora: String,
    /// `‖Q Qᵀ B A‖ / ‖B A‖` over all layers of the LoRA.
    pub share: f64,
}

/// How much the PaRas of `model` from the adapter number `from` on erase of LoRAs before them: the largest share, if
/// there is one.
///
/// # Errors
/// Values that are no numbers.
pub fn erased(model: &Model, from: usize) -> Result<Option<Erased>> {
    let mut most: Option<Erased> = None;
    for (index, para) in model.applied().iter().enumerate().skip(from) {
        for lora in &model.applied()[..index] {
            let Some(share) = share(&erasures(para, lora)?, lora)? else { continue };
            if most.as_ref().is_none_or(|most| share > most.share) {
                let (para, lora) = (para.single.name().to_owned(), lora.single.name().to_owned());
                most = Some(Erased { para, lora, share });
            }
        }
    }
    Ok(most)
}

/// How a PaRa and a LoRA meet, layer by layer; empty if they are not these, or share no layer.
///
/// # Errors
/// Values that are no numbers.
pub fn erasures(para: &Applied, lora: &Applied) -> Result<Vec<Erasure>> {
    let mut found = Vec::new();
    for target in para.bound.targets().filter(|target| lora.bound.changes(target)) {
        let (Some(q), Some(change)) = (span(para, target)?, low_rank(lora, target)?) else { continue };
        let removed = LowRank { up: q.transpose() * &change.up, down: change.down.clone() };
        let b = basis::orthonormal(change.up.as_ref()).q;
        found.push(Erasure {
            target: target.clone(),
            erased: removed.norm(),
            added: change.norm(),
            cosines: principal_cosines(q.as_ref(), b.as_ref())?,
        });
    }
    Ok(found)
}

/// The share of a whole LoRA that is erased, layers that only it changes included; none if nothing meets.
fn share(erasures: &[Erasure], lora: &Applied) -> Result<Option<f64>> {
    if erasures.is_empty() {
        return Ok(None);
    }
    let mut added = 0.0;
    for target in lora.bound.targets() {
        added += low_rank(lora, target)?.map_or(0.0, |change| change.norm().powi(2));
    }
    let erased: f64 = erasures.iter().map(|layer| layer.erased.powi(2)).sum();
    Ok((added > 0.0).then(|| (erased / added).sqrt()))
}

/// The orthonormal basis of what an adapter removes from a layer, if it is a PaRa.
///
/// # Errors
/// Values that are no numbers.
pub fn span(applied: &Applied, target: &Target) -> Result<Option<Matrix>> {
    let layer = applied.bound.layer(&applied.single, target).filter(|layer| layer.method.name() == "PaRa");
    layer.map(|layer| Ok(para::span(&applied.single.pieces(layer))?.q)).transpose()
}

/// What an adapter adds to a layer, if it is a LoRA, at its scale.
///
/// # Errors
/// Values that are no numbers.
pub fn low_rank(applied: &Applied, target: &Target) -> Result<Option<LowRank>> {
    let layer = applied.bound.layer(&applied.single, target).filter(|layer| layer.method.name() == "LoRA");
    let scale = applied.scales.of(target.part);
    Ok(layer.map(|layer| LowRank::of_lora(&applied.single.pieces(layer), scale)).transpose()?.flatten())
}

/// How two PaRas on one layer meet.
#[derive(Debug, Clone)]
pub struct Meeting {
    /// The columns of the first and of the second.
    pub ranks: [usize; 2],
    /// The rank of their joint removal.
    pub joint: usize,
    /// The cosines of the principal angles between the two spans, the largest first.
    pub cosines: Vec<f64>,
}

/// Cosines above this are those of directions that both spans have.
const SHARED: f64 = 1.0 - 1e-9;

impl Meeting {
    /// The largest singular value of `(I - P2)(I - P1) - (I - Pm)`: the largest cosine below 1, for its singular values
    /// are those cosines (`para-maths`, section 2).
    pub fn gap(&self) -> f64 {
        self.cosines.iter().copied().find(|&cosine| cosine < SHARED).unwrap_or(0.0)
    }

    /// The rank that the two remove one after the other, in general position: directions at a right angle and shared
    /// ones count like the joint removal's, the others once for a pair.
    pub fn in_turn(&self) -> usize {
        let (first, second) = (self.ranks[0], self.ranks[1]);
        let paired = self.cosines.iter().filter(|&&cosine| cosine > super::basis::DEPENDENT).count();
        first + second - paired
    }
}

/// How two orthonormal bases `[d, r1]` and `[d, r2]` meet.
///
/// # Errors
/// As [`basis::svd`].
pub fn meeting(first: &Matrix, second: &Matrix) -> Result<Meeting> {
    let beyond = basis::beyond(first.as_ref(), second.as_ref()).q.ncols();
    Ok(Meeting {
        ranks: [first.ncols(), second.ncols()],
        joint: first.ncols() + beyond,
        cosines: principal_cosines(first.as_ref(), second.as_ref())?,
    })
}
