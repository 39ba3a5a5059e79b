//! `flow schema FOLDER`: what editors need to complete and check graphs.

use std::path::PathBuf;

use clap::Args;
use flow_engine::{file, json_schema, script_definitions};

use crate::open::one;
use crate::show::out;
use crate::{Ending, Exit};

#[derive(Args)]
pub struct SchemaArguments {
    /// The folder to write `flow.schema.json` and `flow.d.rhai` into.
    folder: PathBuf,
}

pub fn schema(arguments: &SchemaArguments) -> Ending {
    let registry = flow_nodes::registry();
    let schema = serde_json::to_string_pretty(&json_schema(&registry)).map_err(|error| one(error.into()))?;
    let texts = [("flow.schema.json", schema + "\n"), ("flow.d.rhai", script_definitions(&registry))];
    for (name, text) in texts {
        let path = arguments.folder.join(name);
        file::write_if_changed(&path, text.as_bytes()).map_err(one)?;
        out::print(&format!("{}\n", path.display())).map_err(one)?;
    }
    Ok(Exit::Done)
}
