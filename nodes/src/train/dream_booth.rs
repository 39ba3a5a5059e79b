//! DreamBooth's fine-tuning (arXiv 2208.12242): the weights themselves are trained.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::method::{Method, Writing};
use crate::adapter::layers::Layers;

/// Train the weights themselves (arXiv 2208.12242). The adapter is the difference to the model, as large as its layers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DreamBooth {
    /// The layers to train, with their biases. All of the denoiser, norms too, if not set.
    #[serde(default)]
    pub layers: Option<Layers>,
}

impl Method for DreamBooth {
    fn name(&self) -> &'static str {
        "DreamBooth"
    }

    fn rate(&self) -> f64 {
        1e-4
    }

    fn layers(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    fn trains_tensors(&self) -> bool {
        true
    }

    fn writing(&self) -> Writing {
        Writing { architecture: "diff", kohya_names: true, says: Vec::new() }
    }
}
