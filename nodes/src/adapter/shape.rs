//! A layer that an adapter can work on, by its name and the shape of its weight alone.

use std::collections::BTreeMap;

/// A linear layer or a convolution: its diffusers name, and `[d_out, d_in]` or `[c_out, c_in, kh, kw]`.
///
/// As a matrix its weight has `rows` outputs and `columns` inputs, a convolution's kernel laid flat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerShape {
    /// The name of the module, without `.weight`.
    pub name: String,
    /// The shape of its weight: two axes or four.
    pub weight: Vec<usize>,
}

impl LayerShape {
    /// The layer whose weight a tensor is; none for biases, norms and embeddings of one axis.
    pub fn of_tensor(name: &str, shape: &[usize]) -> Option<Self> {
        let name = name.strip_suffix(".weight")?;
        matches!(shape.len(), 2 | 4).then(|| Self { name: name.to_owned(), weight: shape.to_vec() })
    }

    /// Outputs, or output channels.
    pub fn rows(&self) -> usize {
        self.weight[0]
    }

    /// Inputs, or input channels.
    pub fn inputs(&self) -> usize {
        self.weight[1]
    }

    /// Inputs, or input channels times the pixels of the kernel.
    pub fn columns(&self) -> usize {
        self.weight[1..].iter().product()
    }

    /// The rank of its weight if nothing in it depends on anything else.
    pub fn full_rank(&self) -> usize {
        self.rows().min(self.columns())
    }

    /// Whether its weight has a kernel.
    pub fn is_convolution(&self) -> bool {
        self.weight.len() == 4
    }
}

/// The layers among a network's tensors, in the order of their names.
pub fn layers_among(tensors: &BTreeMap<String, Vec<usize>>) -> Vec<LayerShape> {
    tensors.iter().filter_map(|(name, shape)| LayerShape::of_tensor(name, shape)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing;
    use crate::sdxl::base_config;

    #[test]
    fn norms_and_biases_are_no_layers() {
        assert_eq!(LayerShape::of_tensor("conv_in.bias", &[320]), None);
        assert_eq!(LayerShape::of_tensor("conv_norm_out.weight", &[320]), None);
        let conv = LayerShape::of_tensor("conv_in.weight", &[320, 4, 3, 3]).unwrap();
        assert_eq!((conv.rows(), conv.inputs(), conv.columns(), conv.full_rank()), (320, 4, 36, 36));
        assert!(conv.is_convolution());
    }

    #[test]
    fn the_built_in_configuration_gives_the_794_layers_of_sdxl_base() {
        let mut expected: Vec<_> = testing::sdxl_layers().into_iter().map(|known| known.layer).collect();
        expected.sort_by(|a, b| a.name.cmp(&b.name));
        let mut found = layers_among(&base_config::unet_shapes().unwrap());
        found.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(found.len(), 794);
        assert_eq!(found, expected);
    }
}
