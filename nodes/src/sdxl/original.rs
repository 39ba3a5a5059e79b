//! The names of the original SDXL layout, in which single files are written (Stability's `generative-models`).
//!
//! Flow's networks ask for their tensors by diffusers' names. [`OriginalNames`] says under which name a single file
//! has each of them: in the file a network is one list of blocks where diffusers nests levels, OpenCLIP keeps query,
//! key and value in one matrix, and its projection is a bare matrix that is multiplied from the other side.
//!
//! Nothing here knows files or shapes.

use std::collections::BTreeMap;

use super::config::{UNetConfig, VaeConfig};
use super::files::Take;
use super::part::Part;

/// Where a single file has a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// Its name, or the name of what holds it.
    pub name: String,
    /// How much of that it is.
    pub take: Take,
}

/// The map from diffusers' names to the original ones, for networks of any depth.
#[derive(Debug, Clone)]
pub struct OriginalNames {
    /// Modules of the denoiser.
    unet: BTreeMap<String, String>,
    /// Modules of the autoencoder.
    vae: BTreeMap<String, String>,
}

/// What the names of a part begin with in a single file.
pub fn prefix(part: Part) -> &'static str {
    match part {
        Part::Unet => "model.diffusion_model.",
        Part::Vae => "first_stage_model.",
        Part::TextEncoder => "conditioner.embedders.0.transformer.",
        Part::TextEncoder2 => "conditioner.embedders.1.model.",
    }
}

impl OriginalNames {
    /// The names of networks with these settings.
    pub fn new(unet: &UNetConfig, vae: &VaeConfig) -> Self {
        Self { unet: unet_modules(unet).into_iter().collect(), vae: vae_modules(vae).into_iter().collect() }
    }

    /// The names of an autoencoder alone.
    pub fn of_vae(vae: &VaeConfig) -> Self {
        Self { unet: BTreeMap::new(), vae: vae_modules(vae).into_iter().collect() }
    }

    /// Where a single file has the tensor that diffusers calls `name`.
    pub fn of(&self, part: Part, name: &str) -> Original {
        let (name, take) = match part {
            Part::Unet => (unet_name(&self.unet, name), Take::Whole),
            Part::Vae => (vae_name(&self.vae, name), Take::Whole),
            Part::TextEncoder => (name.to_owned(), Take::Whole),
            Part::TextEncoder2 => openclip_name(name),
        };
        Original { name: format!("{}{name}", prefix(part)), take }
    }
}

/// The denoiser: everything on the way down is one list of blocks, and so is everything on the way up.
fn unet_modules(config: &UNetConfig) -> Vec<(String, String)> {
    let levels = config.block_out_channels.len();
    let layers = |level: usize| config.layers_per_block.at(level).unwrap_or(1);
    let mut modules = Vec::new();
    let mut add = |diffusers: String, original: String| modules.push((diffusers, original));

    for (diffusers, original) in [
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in", "input_blocks.0.0"),
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ] {
        add(diffusers.into(), original.into());
    }

    let mut block = 1; // after `conv_in`
    for level in 0..levels {
        let down = format!("down_blocks.{level}");
        for layer in 0..layers(level) {
            add(format!("{down}.resnets.{layer}"), format!("input_blocks.{block}.0"));
            add(format!("{down}.attentions.{layer}"), format!("input_blocks.{block}.1"));
            block += 1;
        }
        if level + 1 < levels {
            add(format!("{down}.downsamplers.0.conv"), format!("input_blocks.{block}.0.op"));
            block += 1;
        }
    }

    let mut block = 0;
    for level in 0..levels {
        let up = format!("up_blocks.{level}");
        for layer in 0..=layers(levels - 1 - level) {
            add(format!("{up}.resnets.{layer}"), format!("output_blocks.{block}.0"));
            add(format!("{up}.attentions.{layer}"), format!("output_blocks.{block}.1"));
            block += 1;
        }
        // The upsampler stands in the last block, behind its attention if there is one.
        let behind = if config.up_block_types[level].starts_with("CrossAttn") { 2 } else { 1 };
        add(format!("{up}.upsamplers.0.conv"), format!("output_blocks.{}.{behind}.conv", block - 1));
    }
    modules
}

fn unet_name(modules: &BTreeMap<String, String>, name: &str) -> String {
    const RESNET: [(&str, &str); 6] = [
        ("norm1.", "in_layers.0."),
        ("conv1.", "in_layers.2."),
        ("time_emb_proj.", "emb_layers.1."),
        ("norm2.", "out_layers.0."),
        ("conv2.", "out_layers.3."),
        ("conv_shortcut.", "skip_connection."),
    ];
    let (diffusers, original, inside) = module_of(modules, name);
    let inside = if diffusers.contains(".resnets.") { renamed(&RESNET, inside) } else { inside.to_owned() };
    join(original, &inside)
}

/// The autoencoder: the same levels, but the decoder counts its own from the picture inwards.
fn vae_modules(config: &VaeConfig) -> Vec<(String, String)> {
    let levels = config.block_out_channels.len();
    let mut modules = Vec::new();
    let mut add = |diffusers: String, original: String| modules.push((diffusers, original));
    for side in ["encoder", "decoder"] {
        add(format!("{side}.conv_norm_out"), format!("{side}.norm_out"));
        add(format!("{side}.mid_block.resnets.0"), format!("{side}.mid.block_1"));
        add(format!("{side}.mid_block.attentions.0"), format!("{side}.mid.attn_1"));
        add(format!("{side}.mid_block.resnets.1"), format!("{side}.mid.block_2"));
    }
    for level in 0..levels {
        let (down, up) = (format!("encoder.down_blocks.{level}"), format!("decoder.up_blocks.{level}"));
        let mirrored = levels - 1 - level;
        for layer in 0..config.layers_per_block {
            add(format!("{down}.resnets.{layer}"), format!("encoder.down.{level}.block.{layer}"));
        }
        for layer in 0..=config.layers_per_block {
            add(format!("{up}.resnets.{layer}"), format!("decoder.up.{mirrored}.block.{layer}"));
        }
        add(format!("{down}.downsamplers.0.conv"), format!("encoder.down.{level}.downsample.conv"));
        add(format!("{up}.upsamplers.0.conv"), format!("decoder.up.{mirrored}.upsample.conv"));
    }
    modules
}

fn vae_name(modules: &BTreeMap<String, String>, name: &str) -> String {
    const RESNET: [(&str, &str); 1] = [("conv_shortcut.", "nin_shortcut.")];
    const ATTENTION: [(&str, &str); 5] = [
        ("group_norm.", "norm."),
        ("to_q.", "q."),
        ("to_k.", "k."),
        ("to_v.", "v."),
        ("to_out.0.", "proj_out."),
    ];
    let (diffusers, original, inside) = module_of(modules, name);
    let inside = match diffusers {
        module if module.contains(".resnets.") => renamed(&RESNET, inside),
        module if module.contains(".attentions.") => renamed(&ATTENTION, inside),
        _ => inside.to_owned(),
    };
    join(original, &inside)
}

/// The second text encoder, as OpenCLIP names it. The first is as transformers names it.
fn openclip_name(name: &str) -> (String, Take) {
    const BLOCK: [(&str, &str); 5] = [
        ("self_attn.out_proj.", "attn.out_proj."),
        ("layer_norm1.", "ln_1."),
        ("layer_norm2.", "ln_2."),
        ("mlp.fc1.", "mlp.c_fc."),
        ("mlp.fc2.", "mlp.c_proj."),
    ];
    match name {
        "text_projection.weight" => return ("text_projection".into(), Take::Transposed),
        "text_model.embeddings.token_embedding.weight" => {
            return ("token_embedding.weight".into(), Take::Whole);
        }
        "text_model.embeddings.position_embedding.weight" => {
            return ("positional_embedding".into(), Take::Whole);
        }
        _ => {}
    }
    if let Some(inside) = name.strip_prefix("text_model.final_layer_norm.") {
        return (format!("ln_final.{inside}"), Take::Whole);
    }
    let block = name.strip_prefix("text_model.encoder.layers.").and_then(|rest| rest.split_once('.'));
    let Some((i, inside)) = block else { return (name.to_owned(), Take::Whole) };
    for (third, fused) in ["self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."].iter().enumerate() {
        if let Some(kind) = inside.strip_prefix(fused) {
            return (format!("transformer.resblocks.{i}.attn.in_proj_{kind}"), Take::Third(third));
        }
    }
    (format!("transformer.resblocks.{i}.{}", renamed(&BLOCK, inside)), Take::Whole)
}

/// The innermost module of the table that holds `name`, its original name, and what is left inside; a module that is
/// not in the table is called the same in both.
fn module_of<'a>(modules: &'a BTreeMap<String, String>, name: &'a str) -> (&'a str, &'a str, &'a str) {
    let mut ends = name.rmatch_indices('.').map(|(at, _)| (&name[..at], &name[at + 1..]));
    ends.find_map(|(module, inside)| Some((module, modules.get(module)?.as_str(), inside)))
        .unwrap_or(("", "", name))
}

fn join(module: &str, inside: &str) -> String {
    if module.is_empty() { inside.to_owned() } else { format!("{module}.{inside}") }
}

/// `name` with the first of the beginnings that it has replaced.
fn renamed(table: &[(&str, &str)], name: &str) -> String {
    let rename = |(old, new): &(&str, &str)| Some(format!("{new}{}", name.strip_prefix(old)?));
    table.iter().find_map(rename).unwrap_or_else(|| name.to_owned())
}
