//! What is measured of a picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::statistics::Unit;

/// A measure of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Measure {
    /// How alike the pictures of a run are: the mean SSIM over all pairs (Wang et al. 2004), from -1 to 1. A lower value
    /// is a more diverse set; neither is better.
    Diversity,
    /// How near a picture is to the prompt: the cosine of CLIP's picture and text (Radford et al. 2021), from -1 to 1.
    /// Higher is better.
    TextAlignment,
    /// How near a picture is to the training pictures: the mean cosine of CLIP's pictures over all pairs of the two,
    /// from -1 to 1. Higher is better.
    ImageAlignment,
    /// The same by LPIPS (Zhang et al. 2018): the mean of 1 - LPIPS over all pairs, at most 1. Higher is better.
    PerceptualAlignment,
}

impl Measure {
    /// All of them, in the order of the paper's columns.
    pub const ALL: [Self; 4] =
        [Self::Diversity, Self::TextAlignment, Self::ImageAlignment, Self::PerceptualAlignment];

    /// What columns and plots call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diversity => "SSIM within the set",
            Self::TextAlignment => "text alignment (CLIP)",
            Self::ImageAlignment => "image alignment (CLIP)",
            Self::PerceptualAlignment => "image alignment (1 - LPIPS)",
        }
    }

    /// The measure that a column is called after.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|measure| measure.name() == name)
    }

    /// Whether a higher value is better, a lower one, or neither.
    pub fn higher_is_better(self) -> Option<bool> {
        match self {
            Self::Diversity => None,
            Self::TextAlignment | Self::ImageAlignment | Self::PerceptualAlignment => Some(true),
        }
    }

    /// What one value of it stands for.
    pub fn unit(self) -> Unit {
        match self {
            Self::Diversity => Unit::PairsOfPicture,
            Self::TextAlignment | Self::ImageAlignment | Self::PerceptualAlignment => Unit::Picture,
        }
    }
}
