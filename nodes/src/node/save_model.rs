//! `SaveModel`: a model with everything that is applied to it, as other tools load models.

use std::path::{Path, PathBuf};

use flow_engine::{Check, Cx, Estimate, In, Nature, Node, Problem, Project, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::place::{WEIGHTS, spares};
use crate::adapter::write::FileDtype;
use crate::estimate;
use crate::model::{self, Model};
use crate::sdxl::{Part, save};
use flow_engine::file;

/// Save a model with its adapters folded into its weights, and hand it on unchanged.
///
/// Weights are folded in float32 and written one by one. What is written is a whole model, which needs no adapters any
/// more and which no adapter can be taken out of; its files say which base and which adapters it is made from. A model
/// that is there already is left alone; one that Flow wrote is replaced as a whole; anything else is not touched.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaveModel {
    /// Model to save.
    pub model: In<Model>,
    /// A folder, which becomes one as diffusers saves it, with settings and tokenizers; or a file that ends in
    /// `.safetensors`, in the original layout that ComfyUI and AUTOMATIC1111's web UI load. A file has no settings:
    /// it is for models of SDXL's size and noise.
    pub path: String,
    /// The type of the weights, whatever that of the run: F16 as most models are passed on, or F32.
    #[serde(default)]
    pub dtype: FileDtype,
}

impl SaveModel {
    /// Reports what stands in the way of the files.
    fn writable(&self, full: &Path) -> Result<(), Problem> {
        WEIGHTS.writable(&self.path, full)?;
        // A folder is exchanged as a whole, in the folder that it lies in.
        if let Some(problem) = full.parent().and_then(file::unwritable) {
            return Err(problem);
        }
        save::in_the_way(full).map_or(Ok(()), Err)
    }

    /// Reports what no checkpoint can hold, and what must not be written over.
    fn can_save(&self, model: &Model, full: &Path) -> Result<(), Problem> {
        let words: Vec<_> = model.applied().iter().filter_map(|applied| applied.single.word()).collect();
        if let Some(word) = words.first() {
            let message = format!("the model has the new word `{}`, which no checkpoint holds", word.token());
            let hint = "save the model without it; the word's own file goes beside the model, in every tool";
            return Err(Problem::new(message).hint(hint));
        }
        let adapters = model.applied().iter().flat_map(|applied| applied.single.files().files());
        spares(full, model.checkpoint().files().iter().chain(adapters))
    }
}

impl Node for SaveModel {
    const KIND: &'static str = "SaveModel";
    const NATURE: Nature = Nature::Effect;
    const HOLDS_DEVICE: bool = true;
    type Output = Model;

    fn check(&self, cx: &mut Check<'_>) {
        let full = cx.path(&self.path);
        if let Some(model) = cx.input(&self.model)
            && let Err(problem) = self.can_save(&model, &full)
        {
            return cx.problem_with("path", problem);
        }
        if let Err(problem) = self.writable(&full) {
            cx.problem_with("path", problem);
        }
    }

    fn target(&self, project: &Project) -> Option<PathBuf> {
        Some(project.path(&self.path))
    }

    /// Reading and folding; a tensor is held at a time, as it is, in float32 and changed.
    fn estimate(&self, cx: &Check<'_>) -> Option<Estimate> {
        let model = cx.input(&self.model)?;
        let sizes = Part::ALL.map(|part| {
            let shapes = model.checkpoint().weights(part).shapes();
            shapes.map(|(_, shape)| 4 * shape.iter().product::<usize>() as u64).max().unwrap_or_default()
        });
        let largest = sizes.into_iter().max().unwrap_or_default();
        Some(Estimate {
            flops: 0.0,
            peak_bytes: 3 * largest,
            read_bytes: estimate::stored(&model, &Part::ALL),
        })
    }

    fn run(&self, cx: &Cx<'_>) -> Result<Model> {
        let (model, full) = (cx.input(&self.model)?, cx.path(&self.path));
        self.can_save(&model, &full)?;
        self.writable(&full)?;
        let form = if WEIGHTS.names_a_file(&self.path) { model::Form::File } else { model::Form::Folder };
        let compute = model::compute(cx.settings())?;
        let progress = &mut |done, total| cx.progress(done, total, "tensor");
        model.save(&full, form, self.dtype, &compute, progress)?;
        Ok(Model::clone(&model))
    }
}
