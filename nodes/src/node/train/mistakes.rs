//! What is wrong with a training before it runs.

use std::path::PathBuf;

use flow_engine::{Check, Cx, Digest, Problem, Project, Result};

use super::super::load_adapter;
use super::Train;
use crate::adapter::bound::Cap;
use crate::adapter::{Single, read};
use crate::model::Model;
use crate::sdxl::Part;
use crate::train::method::{TrainMethod, nothing_chosen};
use crate::train::network::check_given;

/// From so many pieces on a word is hardly one of a language's own.
const MANY_TOKENS: usize = 3;

impl Train {
    /// Tells every mistake that can be seen before anything runs.
    pub(super) fn look_for_mistakes(&self, cx: &mut Check<'_>) {
        match (&self.prompt, self.captions) {
            (None, false) => cx.problem_with(
                "prompt",
                Problem::new("nothing says what the pictures show")
                    .hint("write `prompt: \"a photo of sks plushie\"`, or `captions: true` for text files beside them"),
            ),
            (Some(_), true) => cx.problem_with(
                "captions",
                Problem::new("`prompt` and `captions` both say what the pictures show").hint("leave one of them out"),
            ),
            _ => {}
        }
        for prompt in [&self.prompt, &self.class_prompt, &self.sample_prompt] {
            crate::conditioning::check_prompts(prompt.as_deref(), None, cx);
        }
        if self.class_images.is_some() != self.class_prompt.is_some() {
            let problem = Problem::new("`class_images` and `class_prompt` belong together");
            cx.problem_with("class_prompt", problem.hint("give both, or neither"));
        }
        if let (Some(words), Some(prompt)) = (self.method.method().words(), &self.prompt)
            && !prompt.contains(&words.token)
        {
            let problem =
                Problem::new(format!("the prompt does not say `{}`, which is to be learned", words.token));
            cx.problem_with("prompt", problem.hint(format!("write \"a photo of {}\"", words.token)));
        }
        let given = self.given(cx.project(), &|_| Ok(Digest::of(b"")));
        let given = given.unwrap_or_else(|problem| {
            cx.problem_with("method", problem);
            None
        });
        let Some(model) = cx.input(&self.model) else { return };
        if let Err(problem) = self.chosen_layers(&model) {
            cx.problem_with("method", problem);
        } else if let Some(given) = given
            && let Err(problem) = check_given(&given, self.method.method(), &model)
        {
            cx.problem_with("method", problem);
        }
    }

    /// Warns of words of the prompt that the model reads in many pieces, one of which may be meant as the identifier.
    pub(super) fn warn_of_split_words(&self, model: &Model, cx: &Cx<'_>) -> Result<()> {
        let Some(prompt) = self.prompt.as_deref().filter(|_| self.method.method().words().is_none()) else {
            return Ok(());
        };
        let tokenizer = model.checkpoint().tokenizers()?.first;
        for word in prompt.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
            let tokens = tokenizer.words(word)?;
            let unknown = tokens.iter().any(|token| tokenizer.is_end(token.id));
            if unknown || tokens.len() >= MANY_TOKENS {
                let why = if unknown {
                    "has a character that the model does not know".to_owned()
                } else {
                    format!("is {} tokens to the model", tokens.len())
                };
                let hint = "an identifier is one rare token, such as `sks`: pieces bring their own meanings";
                cx.warn(format!("`{word}` {why}"), Some(hint.to_owned()));
            }
        }
        Ok(())
    }

    /// Whether the method has a layer to train, as far as names tell.
    fn chosen_layers(&self, model: &Model) -> Result<()> {
        let method = self.method.method();
        let Some(layers) = method.layers() else { return Ok(()) };
        let selection = layers.compile()?;
        let names = model.names()?;
        let is_chosen = |(name, shape): (&str, &[usize])| {
            shape.len() >= 2 && name.strip_suffix(".weight").is_some_and(|layer| selection.holds(layer))
        };
        let chooses_in = |part| names.shapes(part).any(is_chosen);
        if chooses_in(Part::Unet) {
            // A weight has at most the rank of its shorter side, so what leaves nothing of that leaves nothing.
            let cap = self.cap();
            let mut shapes = names.shapes(Part::Unet).filter(|named| is_chosen(*named));
            let leaves_some = |(_, shape): (&str, &[usize])| {
                let inputs: usize = shape[1..].iter().product();
                cap.on(shape.len() > 2).is_none_or(|gamma| gamma.of(shape[0].min(inputs)) > 0)
            };
            return if shapes.any(leaves_some) { Ok(()) } else { Err(method.no_layer().into()) };
        }
        if [Part::TextEncoder, Part::TextEncoder2].into_iter().any(chooses_in) {
            let message = "`layers` names layers of the text encoders, and only the denoiser's are trained";
            let hint = "prompts are encoded once for all steps, which trained encoders would not allow; \
                        `TextualInversion` trains a word";
            return Err(Problem::new(message).hint(hint).into());
        }
        Err(nothing_chosen().into())
    }

    /// What bounds the rank that each layer is trained with.
    fn cap(&self) -> Cap {
        match &self.method {
            TrainMethod::Para(para) => para.bound.cap(para.gamma),
            TrainMethod::Lora(lora) => lora.gamma.map_or(Cap::Nowhere, |gamma| lora.bound.cap(gamma)),
            _ => Cap::Nowhere,
        }
    }

    /// The adapter that the training starts from, with the digest of its files.
    pub(super) fn given(
        &self,
        project: &Project,
        digest: &dyn Fn(&[PathBuf]) -> Result<Digest>,
    ) -> Result<Option<Single>> {
        let Some(path) = self.method.method().given() else { return Ok(None) };
        let path = load_adapter::found(path, project)?;
        read::open(&path, digest(&read::files(&path)?)?).map(Some)
    }
}
