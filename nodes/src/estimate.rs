//! What nodes will take, for a plan: their passes through a model's networks, counted by [`cost`](crate::sdxl::cost).
//!
//! Memory is weights, all networks of a node at once because they are kept, and the largest pass of one of them. What is
//! read are the networks' tensors and those of the adapters on them, as if nothing were kept yet. Folding adapters into
//! weights is not counted: it is done once, and takes what reading takes.

use flow_engine::{Estimate, Settings};

use crate::adapter::fold::Applied;
use crate::device;
use crate::model::Model;
use crate::sdxl::Part;
use crate::sdxl::config::TextConfig;
use crate::sdxl::cost::{self, Grid, Half};

/// Pictures of one size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pictures {
    /// The size of their latents.
    pub(crate) latents: Grid,
    /// How many they are.
    pub(crate) count: usize,
    /// How many of them go through the denoiser together.
    pub(crate) together: usize,
}

/// Walks between noise and pictures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walks<'a> {
    /// The pictures.
    pub(crate) pictures: &'a [Pictures],
    /// Passes of the denoiser in each.
    pub(crate) steps: usize,
    /// Whether each pass also takes the negative prompt.
    pub(crate) guided: bool,
    /// Prompts that are encoded for them.
    pub(crate) prompts: usize,
    /// Whether they begin at pictures.
    pub(crate) encodes: bool,
    /// Whether they end in pictures.
    pub(crate) decodes: bool,
}

impl Walks<'_> {
    /// What they take with a model.
    pub(crate) fn estimate(&self, model: &Model, settings: Settings) -> Option<Estimate> {
        let checkpoint = model.checkpoint();
        let (unet, vae) = (checkpoint.unet_config(), checkpoint.vae_config());
        let levels = [unet.block_out_channels.len(), vae.block_out_channels.len()];
        let tokens = checkpoint.text_configs().iter().map(|text| text.max_position_embeddings).max()?;
        let width = device::dtype(settings.dtype).size_in_bytes() as f64;
        let halves = [(self.encodes, Half::Encoder), (self.decodes, Half::Decoder)];
        let passes = self.steps as f64 * if self.guided { 2.0 } else { 1.0 };

        let (mut flops, mut activations) = (0.0, 0f64);
        for &Pictures { latents, count, together } in self.pictures {
            let (unet_weights, vae_weights) = (checkpoint.weights(Part::Unet), checkpoint.weights(Part::Vae));
            flops += count as f64 * passes * cost::unet(unet_weights.shapes(), levels[0], latents, tokens);
            for (_, half) in halves.iter().filter(|(is_taken, _)| *is_taken) {
                flops += count as f64 * cost::vae(vae_weights.shapes(), levels[1], latents, *half);
            }
            let batch = if self.guided { 2 * together } else { together };
            activations = activations.max(width * cost::unet_activations(unet, latents, batch));
            if self.encodes || self.decodes {
                activations = activations.max(4.0 * cost::vae_activations(vae, latents, together)); // in float32
            }
        }
        let mut parts = vec![Part::Unet];
        parts.extend((self.encodes || self.decodes).then_some(Part::Vae));
        let (words, networks) = (prompts(model, self.prompts, settings), networks(model, &parts, settings));
        Some(Estimate {
            flops: flops + words.flops,
            peak_bytes: networks.peak_bytes + words.peak_bytes + activations as u64,
            read_bytes: networks.read_bytes + words.read_bytes,
        })
    }
}

/// What encoding some prompts takes, each of one chunk.
pub(crate) fn prompts(model: &Model, count: usize, settings: Settings) -> Estimate {
    if count == 0 {
        return Estimate::default();
    }
    let both = [Part::TextEncoder, Part::TextEncoder2];
    let pass = |(part, config): (Part, &TextConfig)| {
        cost::text(model.checkpoint().weights(part).shapes(), config.max_position_embeddings)
    };
    let flops = both.into_iter().zip(model.checkpoint().text_configs()).map(pass).sum::<f64>();
    Estimate { flops: count as f64 * flops, ..networks(model, &both, settings) }
}

/// What loading some networks takes.
fn networks(model: &Model, parts: &[Part], settings: Settings) -> Estimate {
    let mut loaded: Vec<_> = parts.to_vec();
    loaded.retain(|part| *part != Part::TextEncoder2); // which is counted with the first
    let loaded = loaded.into_iter().map(|part| model.loaded_bytes(part, settings) as u64).sum();
    Estimate { flops: 0.0, peak_bytes: loaded, read_bytes: stored(model, parts) }
}

/// The bytes of some networks' tensors and of the adapters on them, in their files.
pub(crate) fn stored(model: &Model, parts: &[Part]) -> u64 {
    let weights = parts.iter().map(|&part| model.checkpoint().weights(part).stored_bytes());
    let changes = |applied: &&Applied| parts.iter().any(|&part| applied.changes(part));
    let adapters =
        model.applied().iter().filter(changes).map(|applied| applied.single.files().stored_bytes());
    weights.chain(adapters).sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use flow_engine::{
        Check, Cx, Device, Document, Dtype, Graph, Node, NodeType, Project, Registry, Result, Session,
        read_ron,
    };
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::node::ddim_sample::DDIMSample;
    use crate::node::encode_prompt::EncodePrompt;
    use crate::node::load_sdxl::LoadSDXL;
    use crate::node::save_model::SaveModel;
    use crate::report::Report;

    /// Asks a node that is its field what it will take.
    #[derive(Serialize, Deserialize, JsonSchema)]
    struct Ask {
        #[serde(default)]
        sample: Option<DDIMSample>,
        #[serde(default)]
        encode: Option<EncodePrompt>,
        #[serde(default)]
        save: Option<SaveModel>,
    }

    type Heard = Mutex<Vec<Estimate>>;

    impl Node for Ask {
        const KIND: &'static str = "Ask";
        type Output = Report;

        fn check(&self, cx: &mut Check<'_>) {
            let sample = self.sample.as_ref().and_then(|node| node.estimate(cx));
            let encode = self.encode.as_ref().and_then(|node| node.estimate(cx));
            let save = self.save.as_ref().and_then(|node| node.estimate(cx));
            cx.shared::<Heard>().lock().unwrap().extend([sample, encode, save].into_iter().flatten());
        }

        fn run(&self, _: &Cx<'_>) -> Result<Report> {
            Ok(Report::default())
        }
    }

    /// What a node on the embedded model will take.
    fn heard(field: &str) -> Option<Estimate> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
        let registry = Registry::new(
            1,
            vec![NodeType::of::<LoadSDXL>(), NodeType::of::<DDIMSample>(), NodeType::of::<Ask>()],
        );
        let session = Session::new(registry, settings, Project::at(root));
        let text = format!(
            r#"Graph(nodes: {{ "base": LoadSDXL(path: "models/mini-sdxl"), "ask": Ask({field}),
                "first": DDIMSample(model: "base", prompt: "a bear") }})"#
        );
        let source = read_ron(Document::new("graph.ron", text), &[], &session.registry);
        let graph = Graph::checked(source, &session);
        assert!(graph.is_ok(), "{:?}", graph.err());
        let heard = session.shared.slot::<Heard>();
        let heard = heard.lock().unwrap();
        heard.first().copied()
    }

    fn sample(fields: &str) -> Estimate {
        heard(&format!(r#"sample: (model: "base", prompt: "a bear", width: 64, height: 64, {fields})"#))
            .unwrap()
    }

    #[test]
    fn work_grows_with_steps_pictures_and_guidance() {
        let [one, more, unguided] =
            ["steps: 10", "steps: 10, count: 3", "steps: 10, guidance: 1"].map(|fields| sample(fields).flops);
        let encoding = heard(r#"encode: (model: "base", prompt: "a bear")"#).unwrap().flops;
        assert!(encoding > 0.0 && ((more - encoding) / (one - encoding) - 3.0).abs() < 1e-9);
        let twice = sample("steps: 20, guidance: 1").flops;
        assert!((twice - unguided - (one - unguided)).abs() < one * 1e-9);
    }

    #[test]
    fn memory_is_weights_and_what_grows_with_the_picture() {
        let weights = |dtype: usize| {
            let checkpoint =
                crate::sdxl::Checkpoint::open(&crate::sdxl::testing::repository("models/mini-sdxl")).unwrap();
            Part::ALL.map(|part| checkpoint.weights(part).stored_bytes()).iter().sum::<usize>() as u64
                * dtype as u64
        };
        let (small, large) = (sample("count: 1"), sample("count: 4"));
        assert_eq!(small.read_bytes, weights(1));
        assert_eq!(large.read_bytes, small.read_bytes);
        assert!(small.peak_bytes > 0 && large.peak_bytes > small.peak_bytes);
    }

    /// The file is small and in float16: its matrices stay in it, if the network runs in float16 on a CPU.
    #[test]
    fn weights_take_memory_where_they_cannot_stay_in_their_file() {
        let path = crate::sdxl::testing::repository("models/mini-sdxl");
        let model =
            Model::new(crate::sdxl::Checkpoint::open(&path).unwrap(), flow_engine::Digest::of(b"mini"));
        let (elements, held) = (model.parameters(Part::Unet), |device, dtype| {
            model.loaded_bytes(Part::Unet, Settings { device, dtype })
        });
        assert!(held(Device::Cpu, Dtype::F16) < elements / 10, "norms and biases");
        assert_eq!(held(Device::Cpu, Dtype::F32), 4 * elements);
        assert_eq!(held(Device::Cpu, Dtype::BF16), 2 * elements);
        assert_eq!(held(Device::Cuda(0), Dtype::F16), 2 * elements);
    }

    #[test]
    fn a_large_picture_takes_the_memory_that_was_measured() {
        // Anonymous memory of a run on a CPU in float32, at most; see `unet_activations`.
        let measured = f64::from(887 << 20);
        let taken = heard(r#"sample: (model: "base", prompt: "a bear", width: 512, height: 512)"#).unwrap();
        assert!((taken.peak_bytes as f64 / measured - 1.0).abs() < 0.1, "{taken:?}");
    }

    #[test]
    fn what_begins_at_a_picture_that_nobody_has_drawn_yet_is_not_guessed_at() {
        assert_eq!(heard(r#"sample: (model: "base", prompt: "a bear", image: "first")"#), None);
    }

    #[test]
    fn saving_a_model_reads_all_of_it_and_holds_little() {
        let save = heard(r#"save: (model: "base", path: "out/model")"#).unwrap();
        assert_eq!(save.read_bytes, sample("count: 1").read_bytes);
        assert!(save.peak_bytes > 0 && save.peak_bytes < save.read_bytes);
    }
}
