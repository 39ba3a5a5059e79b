//! Losses, gradients and steps of training, for every method that PyTorch was asked for.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use flow_engine::Result;
use flow_nodes::adapter::fold::Scales;
use flow_nodes::adapter::names::Target;
use flow_nodes::adapter::write::FileDtype;
use flow_nodes::model::{Model, TextPart};
use flow_nodes::ops::Segments;
use flow_nodes::sample::{Generator, NoiseSchedule};
use flow_nodes::sdxl::config::TextConfig;
use flow_nodes::sdxl::{Compute, Part, TextEmbeds, TextEncoder, TextEncoders, UNet, Weights};
use flow_nodes::train::layer::{Base, TrainedLayer};
use flow_nodes::train::method::{
    DreamBooth, LoraLayer, OftLayer, Orthonormalize, ParaLayer, SvDiffLayer, TrainMethod, Words,
};
use flow_nodes::train::network::{Beginning, Trainees};
use flow_nodes::train::objective::{Objective, Question};
use flow_nodes::train::optimizer::{AdamW, AdamWSettings, Gradients};
use serde_json::Value;

use super::adapters::base;
use super::support::{Golden, json, rows, worst};

/// Measured 6e-8 in PyTorch.
const LOSS: f64 = 1e-5;
/// Of the largest entry of all gradients; measured 4e-8 of 0.016 and 3e-7 of 0.061.
const GRADIENT: f64 = 1e-4;
/// Measured 2e-6 after five steps.
const PARAMETER: f64 = 5e-5;
/// An entry whose gradient is nearly 0 may go up to this often the learning rate astray in a step, either way.
const RATE: f64 = 1e-3;

/// The stored question to the denoiser, and everything else that it is told.
struct Asked {
    question: Question,
    text: TextEmbeds,
    time_ids: Tensor,
}

fn asked() -> Option<Asked> {
    let inputs = Golden::open("training/inputs.safetensors")?;
    let question = Question {
        latents: inputs.get("latents").clone(),
        noise: inputs.get("noise").clone(),
        timesteps: inputs.timesteps("timesteps"),
        weights: vec![1.0; 2],
        subjects: 2,
        mask: None,
    };
    let text = TextEmbeds {
        prompt_embeds: inputs.get("encoder_hidden_states").clone(),
        pooled: inputs.get("text_embeds").clone(),
    };
    Some(Asked { question, text, time_ids: inputs.get("time_ids").clone() })
}

/// A training of stored parameters.
struct Exam {
    golden: Golden,
    expected: Value,
    model: Model,
    asked: Asked,
    min_snr: Option<f64>,
    /// What the text encoders read in every step, where they learn a word.
    ids: Option<[Vec<Vec<u32>>; 2]>,
}

impl Exam {
    fn open(name: &str) -> Option<Self> {
        let golden = Golden::open(&format!("training/{name}.safetensors"))?;
        let expected = json("training/training.json")?["methods"][name].clone();
        Some(Self { golden, expected, model: base()?, asked: asked()?, min_snr: None, ids: None })
    }

    /// The layers that have a stored start, by the names of their weights.
    fn layers(&self, end: &str, make: impl Fn(&Base<'_>, &str) -> Result<Box<dyn TrainedLayer>>) -> Trainees {
        self.layers_of(&self.golden, end, make)
    }

    fn layers_of(
        &self,
        golden: &Golden,
        end: &str,
        make: impl Fn(&Base<'_>, &str) -> Result<Box<dyn TrainedLayer>>,
    ) -> Trainees {
        let modules = golden.tensors.keys().filter_map(|name| name.strip_prefix("init.")?.strip_suffix(end));
        let layers = modules.map(|module| {
            let target = Target { part: Part::Unet, tensor: format!("{module}.weight") };
            let weight = self.model.weight(&target, &Device::Cpu).unwrap();
            let layer = make(&Base { target: &target, weight, given: None }, module).unwrap();
            (target.clone(), layer)
        });
        Trainees::new(layers.collect::<Vec<_>>())
    }

    fn start(&self, name: &str) -> &Tensor {
        self.golden.get(&format!("init.{name}"))
    }

    fn loss<'n>(&self, unet: &'n UNet, trainees: &Trainees, segments: &Segments<'n>) -> Tensor {
        let config = self.model.checkpoint().scheduler_config();
        let schedule = NoiseSchedule::new(config);
        let objective =
            Objective { schedule: &schedule, prediction: config.prediction_type, min_snr: self.min_snr };
        let Asked { question, text, time_ids } = &self.asked;
        let read = self.ids.as_ref().zip(trainees.words());
        let read = read.map(|([ids, ids_2], words)| words.encoders().forward(ids, ids_2).unwrap());
        let text = read.as_ref().unwrap_or(text);
        let noisy = objective.noisy(question).unwrap();
        let timesteps: Vec<f32> = question.timesteps.iter().map(|&t| t as f32).collect();
        let timesteps = Tensor::new(timesteps, &Device::Cpu).unwrap();
        let said = unet.forward_in(&noisy, &timesteps, text, time_ids, segments).unwrap();
        objective.loss(question, &said).unwrap()
    }

    /// The loss of the next step, and the gradient of every parameter.
    fn gradients<'n>(&self, unet: &'n UNet, trainees: &Trainees, segments: Segments<'n>) -> (f64, Gradients) {
        let parameters = trainees.parameters();
        let loss = self.loss(unet, trainees, &segments);
        let found = segments.backward(&loss, &parameters.values().collect::<Vec<_>>()).unwrap();
        let named = parameters.into_keys().zip(found).map(|(name, gradient)| {
            let gradient = gradient.unwrap_or_else(|| panic!("`{name}` has no gradient"));
            (name, gradient)
        });
        (f64::from(loss.to_scalar::<f32>().unwrap()), named.collect())
    }

    /// Takes as many steps as were stored, and compares everything on the way.
    fn holds(&self, trainees: &Trainees) {
        let unet = trainees.unet(&self.model, &Compute::cpu()).unwrap();
        let parameters = trainees.parameters();
        let mut optimizer = AdamW::new(parameters.clone(), AdamWSettings::default()).unwrap();
        let losses: Vec<f64> = serde_json::from_value(self.expected["losses"].clone()).unwrap();
        for (step, expected) in losses.iter().enumerate() {
            // Odd steps compute again what even ones keep.
            let segments = if step % 2 == 0 { Segments::whole() } else { Segments::recomputed() };
            let (found, gradients) = self.gradients(&unet, trainees, segments);
            println!("step {step}: {found:.7}, expected {expected:.7}");
            assert!((found - expected).abs() < LOSS, "the loss of step {step} is {found}, not {expected}");
            if step + 1 == losses.len() {
                break;
            }
            if step == 0 {
                self.gradients_hold(&gradients);
                self.gradients_hold(&self.gradients(&unet, trainees, Segments::recomputed()).1);
            }
            optimizer.step(&gradients, RATE).unwrap();
        }
        self.parameters_hold(&parameters, losses.len() - 1, &as_stored_gradient(&self.golden));
    }

    fn gradients_hold(&self, gradients: &Gradients) {
        let stored: BTreeMap<_, _> = self.stored("grad0.").collect();
        let largest = stored.values().map(|gradient| largest(gradient)).fold(0.0, f64::max);
        for (name, expected) in stored {
            let off = worst(&name, &gradients[&name], expected);
            assert!(
                off <= GRADIENT * largest,
                "the gradient of `{name}` is off by {off:.1e} of {largest:.1e}"
            );
        }
    }

    fn parameters_hold(
        &self,
        parameters: &BTreeMap<String, Var>,
        steps: usize,
        gradients: &BTreeMap<String, Vec<f64>>,
    ) {
        for (name, expected) in self.stored(&format!("after{steps}.")) {
            let (found, expected) = (values(parameters[&name].as_tensor()), values(expected));
            let gradients = gradients.get(&name);
            for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let is_sure = gradients.is_none_or(|gradients| gradients[at].abs() > 1e-6);
                let may = if is_sure { PARAMETER } else { 2.0 * RATE * steps as f64 };
                assert!((found - expected).abs() <= may, "`{name}` at {at} is {found}, not {expected}");
            }
        }
    }

    fn stored(&self, prefix: &str) -> impl Iterator<Item = (String, &Tensor)> {
        let tensors = self.golden.tensors.iter();
        tensors.filter_map(move |(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor)))
    }
}

fn as_stored_gradient(golden: &Golden) -> BTreeMap<String, Vec<f64>> {
    let stored = golden.tensors.iter();
    let stored =
        stored.filter_map(|(name, tensor)| Some((name.strip_prefix("grad0.")?.to_owned(), values(tensor))));
    stored.collect()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    values(tensor).into_iter().map(f64::abs).fold(0.0, f64::max)
}

fn para(through: Orthonormalize) -> impl Fn(&Exam) -> Trainees {
    move |exam| {
        exam.layers(".para_B", |base, module| {
            let b = exam.start(&format!("{module}.para_B"));
            Ok(Box::new(ParaLayer::new(b, base.device(), 0, false, through)?))
        })
    }
}

#[test]
fn golden_para_through_a_decomposition() {
    let Some(exam) = Exam::open("para") else { return };
    exam.holds(&para(Orthonormalize::Qr)(&exam));
}

/// With `B = QR` the span's gradient at `Q` is that at `B` times `Rᵀ`: the default path starts at `Q`.
#[test]
fn golden_para_by_retraction_has_the_gradient_of_the_decomposition() {
    let Some(exam) = Exam::open("para") else { return };
    let orthonormal = |b: &Tensor| flow_nodes::ops::qr(b).unwrap();
    let trainees = exam.layers(".para_B", |base, module| {
        let q = orthonormal(exam.start(&format!("{module}.para_B")));
        Ok(Box::new(ParaLayer::new(&q, base.device(), 0, true, Orthonormalize::Retraction)?))
    });
    let unet = trainees.unet(&exam.model, &Compute::cpu()).unwrap();
    let (loss, gradients) = exam.gradients(&unet, &trainees, Segments::whole());
    let expected = exam.expected["losses"][0].as_f64().unwrap();
    assert!((loss - expected).abs() < LOSS);
    let expected = |name: &str| {
        let b = exam.start(name);
        let r = orthonormal(b).t().unwrap().matmul(b).unwrap();
        exam.golden.get(&format!("grad0.{name}")).matmul(&r.t().unwrap()).unwrap()
    };
    let largest = gradients.keys().map(|name| largest(&expected(name))).fold(0.0, f64::max);
    for (name, gradient) in gradients {
        let off = worst(&name, &gradient, &expected(&name));
        assert!(off <= 1e-5 * largest, "the gradient of `{name}` is off by {off:.1e} of {largest:.1e}");
    }
}

fn lora(exam: &Exam) -> Trainees {
    let expected = &json("training/training.json").unwrap()["methods"]["lora"];
    let scale = expected["alpha"].as_f64().unwrap() / expected["rank"].as_f64().unwrap();
    let all = Golden::open("training/lora.safetensors").unwrap();
    exam.layers_of(&all, ".lora_down", |base, module| {
        let [down, up] = ["lora_down", "lora_up"].map(|piece| all.get(&format!("init.{module}.{piece}")));
        Ok(Box::new(LoraLayer::new(down, up, scale, base)?))
    })
}

#[test]
fn golden_lora() {
    let Some(exam) = Exam::open("lora") else { return };
    exam.holds(&lora(&exam));
}

#[test]
fn golden_lora_with_min_snr() {
    let Some(exam) = Exam::open("lora_min_snr5") else { return };
    let exam = Exam { min_snr: Some(5.0), ..exam };
    exam.holds(&lora(&exam));
}

#[test]
fn golden_lora_with_pictures_of_the_class() {
    let Some(mut exam) = Exam::open("lora_prior_preservation") else { return };
    exam.asked.question.weights = vec![1.0, 0.75];
    exam.asked.question.subjects = 1;
    exam.holds(&lora(&exam));
}

#[test]
fn golden_svdiff() {
    let Some(exam) = Exam::open("svdiff") else { return };
    exam.holds(&exam.layers(".svdiff_delta", |base, module| {
        Ok(Box::new(SvDiffLayer::new(exam.start(&format!("{module}.svdiff_delta")), base)?))
    }));
}

#[test]
fn golden_oft() {
    let Some(exam) = Exam::open("oft") else { return };
    exam.holds(&exam.layers(".oft_R", |base, module| {
        Ok(Box::new(OftLayer::new(exam.start(&format!("{module}.oft_R")), 8, base.device())?))
    }));
}

#[test]
fn golden_textual_inversion() {
    let Some(exam) = Exam::open("textual_inversion") else { return };
    let Some(inputs) = Golden::open("training/textual_inversion_inputs.safetensors") else { return };
    let checkpoint = exam.model.checkpoint();
    let tokenizers = checkpoint.tokenizers().unwrap();
    let (compute, sizes) = (Compute::cpu(), [tokenizers.first.size(), tokenizers.second.size()]);
    // The stored numbers were pooled at the end of the text, which this configuration does not name.
    let end = *tokenizers.second.encode_unpadded("").unwrap().last().unwrap();
    let [first, second] = checkpoint.text_configs();
    let second = TextConfig { eos_token_id: end, ..second.clone() };
    let encoder = |part, config: &TextConfig, projects| {
        TextEncoder::new(config, projects, &Weights::new(&checkpoint.source(part, &compute))).unwrap()
    };
    let encoders = TextEncoders {
        first: encoder(Part::TextEncoder, first, false),
        second: encoder(Part::TextEncoder2, &second, true),
    };
    let vectors = ["clip_l", "clip_g"].map(|name| Var::from_tensor(exam.start(name)).unwrap());
    let words = Words::with("<v>", TextPart { tokenizers, encoders }, sizes, vectors);
    let ids = ["input_ids", "input_ids_2"].map(|name| rows(inputs.get(name)));
    let exam = Exam { ids: Some(ids), ..exam };
    exam.holds(&Trainees::of_words(words));
}

#[test]
fn golden_full_fine_tuning_trains_every_tensor() {
    let Some(exam) = Exam::open("full_finetune") else { return };
    let trainees = Trainees::of(
        &DreamBooth { layers: None },
        &exam.model,
        Beginning::at_random(0),
        &Compute::cpu(),
        &mut |_, _| Ok(()),
    )
    .unwrap();
    assert_eq!(trainees.parameters().len() as u64, exam.expected["parameters"].as_u64().unwrap());
    exam.holds(&trainees);
}

/// Every method in a form that trains every layer of the middle block.
fn methods() -> Vec<(&'static str, TrainMethod)> {
    let every = [
        r#"{"Para": {"rank": 3, "bound": "Nowhere", "layers": {"Matching": "mid_block"}}}"#,
        r#"{"Para": {"rank": 3, "bound": "Nowhere", "layers": {"Matching": "mid_block"}, "orthonormalize": "Qr"}}"#,
        r#"{"Lora": {"rank": 3, "alpha": 2.0, "layers": {"Matching": "mid_block"}}}"#,
        r#"{"Locon": {"rank": 2, "layers": {"Matching": "mid_block"}}}"#,
        r#"{"Loha": {"rank": 2, "alpha": 1.0, "layers": {"Matching": "mid_block"}}}"#,
        r#"{"Lokr": {"rank": 2, "factor": 4, "alpha": 1.5, "layers": {"Matching": "mid_block"}}}"#,
        r#"{"Oft": {"block": 4, "layers": {"Matching": "mid_block"}}}"#,
        r#"{"SvDiff": {"layers": {"Matching": "mid_block"}}}"#,
        r#"{"DreamBooth": {"layers": {"Matching": "mid_block"}}}"#,
        r#"{"DreamBooth": {}}"#,
    ];
    every.into_iter().map(|text| (text, serde_json::from_str(text).unwrap())).collect()
}

/// A PaRa that starts from the file of this one.
fn from_given(text: &str) -> Option<TrainMethod> {
    let mut method: Value = serde_json::from_str(text).unwrap();
    method.get_mut("Para")?["init"] = serde_json::json!({ "Given": "trained" });
    Some(serde_json::from_value(method).unwrap())
}

/// What a layer does in training and what its file does to the weight are written down in two places.
#[test]
fn golden_models_predict_with_a_trained_file_what_they_predicted_in_training() {
    let (Some(model), Some(asked)) = (base(), asked()) else { return };
    for (text, method) in methods() {
        let method = method.method();
        let trainees =
            Trainees::of(method, &model, Beginning::at_random(7), &Compute::cpu(), &mut |_, _| Ok(()))
                .unwrap();
        trainees.begin_step(1000);
        let mut generator = Generator::new(11);
        for parameter in trainees.parameters().values() {
            let noise = (generator.randn(parameter.dims()).unwrap() * 0.05).unwrap();
            parameter.set(&(parameter.as_tensor() + noise).unwrap()).unwrap();
        }
        trainees.end_step().unwrap();
        let values = trainees.parameters().into_iter().map(|(name, it)| (name, it.as_detached_tensor()));
        let pieces = trainees.pieces(&values.collect(), &model).unwrap();
        let file = || method.writing().file("trained", &pieces, FileDtype::F32, BTreeMap::new()).unwrap();
        let applied = model.with(&file().into(), Scales::both(1.0), false).unwrap();
        let predict = |unet: &UNet| {
            let timesteps = Tensor::new(&[500f32, 20.0], &Device::Cpu).unwrap();
            unet.forward(&asked.question.latents, &timesteps, &asked.text, &asked.time_ids).unwrap()
        };
        let trained = predict(&trainees.unet(&model, &Compute::cpu()).unwrap());
        let by_file = predict(&applied.build_unet(&Compute::cpu()).unwrap());
        let without = predict(&model.build_unet(&Compute::cpu()).unwrap());
        assert!(worst(text, &trained, &without) > 1e-3, "{text} changes nothing");
        let off = worst(text, &trained, &by_file);
        assert!(off < 1e-4, "{text}: the file is off by {off:.1e}");
        if let Some(method) = from_given(text) {
            let file = file();
            let beginning = Beginning { seed: 8, given: Some(&file) };
            let given = Trainees::of(method.method(), &model, beginning, &Compute::cpu(), &mut |_, _| Ok(()));
            let off = worst(text, &trained, &predict(&given.unwrap().unet(&model, &Compute::cpu()).unwrap()));
            assert!(off < 1e-4, "{text}: a training from its file begins {off:.1e} beside it");
        }
    }
}

#[test]
fn golden_every_parameter_of_every_method_gets_a_gradient() {
    let Some(exam) = Exam::open("para") else { return };
    for (text, method) in methods() {
        let trainees = Trainees::of(
            method.method(),
            &exam.model,
            Beginning::at_random(7),
            &Compute::cpu(),
            &mut |_, _| Ok(()),
        )
        .unwrap();
        trainees.begin_step(1000);
        // Half of the factors start at 0, where the gradient of the other half is 0 too.
        for parameter in trainees.parameters().values() {
            let moved = (parameter.as_tensor() + (parameter.cos().unwrap() * 0.05).unwrap()).unwrap();
            parameter.set(&moved).unwrap();
        }
        trainees.end_step().unwrap();
        let unet = trainees.unet(&exam.model, &Compute::cpu()).unwrap();
        let [(_, whole), (_, again)] =
            [Segments::whole(), Segments::recomputed()].map(|how| exam.gradients(&unet, &trainees, how));
        let most = whole.values().map(largest).fold(0.0, f64::max);
        for (name, gradient) in whole {
            assert!(largest(&gradient) > 0.0, "{text}: the gradient of `{name}` is 0");
            let off = worst(&name, &again[&name], &gradient);
            assert!(off <= 1e-5 * most, "{text}: computed again, `{name}` is off by {off:.1e} of {most:.1e}");
        }
    }
}
