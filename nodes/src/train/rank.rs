//! How many ranks a layer is trained with, for every method that has ranks.

use flow_engine::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layer::Base;
use crate::adapter::basis;
use crate::adapter::bound::{Cap, Share, bounded_rank};
use crate::adapter::layers::Layers;

/// Which layers a bound on the rank is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BoundOn {
    /// All of them, as the paper's equation 8 says.
    #[default]
    Everywhere,
    /// Convolutions alone, as the sizes of the paper's files say.
    Convolutions,
    /// None.
    Nowhere,
}

impl BoundOn {
    /// The bound with its share.
    pub fn cap(self, gamma: Share) -> Cap {
        match self {
            Self::Everywhere => Cap::Everywhere(gamma),
            Self::Convolutions => Cap::Convolutions(gamma),
            Self::Nowhere => Cap::Nowhere,
        }
    }
}

/// The rank of the paper's comparison.
pub(super) fn eight() -> usize {
    8
}

/// The layers that the paper trains.
pub(super) fn ex_ca() -> Layers {
    Layers::ExCA
}

/// The rank that a layer gives of the `wanted` ones: at most the share of its weight's rank, and at most its sides.
pub(super) fn rank_of(base: &Base<'_>, wanted: usize, cap: Cap) -> Result<usize> {
    let (d, k) = base.sides();
    let most = wanted.min(d.min(k));
    let Some(gamma) = cap.on(base.is_convolution()) else { return Ok(most) };
    if gamma.of(d.min(k)) == 0 {
        return Ok(0);
    }
    Ok(bounded_rank(most, gamma, basis::rank_of(basis::matrix(&base.weight)?.as_ref())?))
}
