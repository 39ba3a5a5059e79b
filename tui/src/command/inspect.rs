//! `flow inspect FILE`: what a file of weights is. `flow inspect --sizes MODEL`: how large adapters are.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use flow_engine::Result;
use flow_nodes::adapter::size_report::SizeReport;
use flow_nodes::inspect;
use serde::Serialize;

use crate::open::one;
use crate::show::{inspection, out, sizes};
use crate::{Ending, Exit};

#[derive(Args)]
pub struct InspectArguments {
    /// A safetensors file, a folder that PEFT saved, or a model's folder.
    #[arg(required_unless_present = "sizes", conflicts_with = "sizes")]
    file: Option<PathBuf>,
    /// Print how large PaRa and LoRA are on the layers of a model, for every subset of PaRa's paper, and what the
    /// paper prints.
    #[arg(long, value_enum, value_name = "MODEL")]
    sizes: Option<Sizes>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A model whose layers the program knows.
#[derive(Clone, Copy, ValueEnum)]
enum Sizes {
    /// SDXL base 1.0.
    Sdxl,
}

pub fn inspect(arguments: &InspectArguments) -> Ending {
    let text = arguments.text().map_err(one)?;
    out::print(&text).map_err(one)?;
    Ok(Exit::Done)
}

impl InspectArguments {
    fn text(&self) -> Result<String> {
        match &self.file {
            Some(file) => self.shown(&inspect::inspect(file)?, inspection::inspection),
            None => self.shown(&SizeReport::of_sdxl()?, sizes::sizes),
        }
    }

    /// For a program, or for a person.
    fn shown<T: Serialize>(&self, what: &T, tables: impl Fn(&T) -> String) -> Result<String> {
        if !self.json {
            return Ok(tables(what));
        }
        Ok(serde_json::to_string_pretty(what).context("numbers that are no JSON")? + "\n")
    }
}
