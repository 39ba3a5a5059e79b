//! The networks that a model is made of.

/// The four networks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The denoiser.
    Unet,
    /// The autoencoder.
    Vae,
    /// The first text encoder.
    TextEncoder,
    /// The second text encoder, which also pools.
    TextEncoder2,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unet, Self::Vae, Self::TextEncoder, Self::TextEncoder2];

    /// Its folder, which is also its name in adapter files.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::Vae => "vae",
            Self::TextEncoder => "text_encoder",
            Self::TextEncoder2 => "text_encoder_2",
        }
    }

    /// Its weight file, without variant and extension.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Self::Unet | Self::Vae => "diffusion_pytorch_model",
            Self::TextEncoder | Self::TextEncoder2 => "model",
        }
    }

    /// Its weights in a folder as diffusers saves it, in one file.
    pub(super) fn weights_file(self) -> String {
        format!("{}/{}.safetensors", self.folder(), self.stem())
    }

    /// Whether a stored tensor is what a network wants: old autoencoders keep the linear layers of their attention as
    /// 1x1 convolutions.
    pub(super) fn same_shape(self, wanted: &[usize], found: &[usize]) -> bool {
        wanted == found
            || (self == Self::Vae
                && wanted.len() == 2
                && found.len() == 4
                && found == [wanted, &[1, 1]].concat())
    }
}
