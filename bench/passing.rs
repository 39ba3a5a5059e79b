//! Nodes that do next to nothing, for benchmarks of the engine.

use flow_engine::{Cx, Digest, In, Node, Result, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is passed on.
pub struct Token(u64);

impl Value for Token {
    const TYPE: &'static str = "Token";
    fn digest(&self) -> Digest {
        Digest::of(&self.0.to_le_bytes())
    }
}

/// Pass tokens on.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// Where they come from.
    pub from: Vec<In<Token>>,
}

impl Node for Pass {
    const KIND: &'static str = "Pass";
    type Output = Token;

    fn run(&self, cx: &Cx<'_>) -> Result<Token> {
        let mut sum = 1;
        for wire in &self.from {
            sum += cx.input(wire)?.0;
        }
        Ok(Token(sum))
    }
}

/// The text of a graph in which node i reads the nodes that `inputs` names.
pub fn graph_text(nodes: usize, inputs: impl Fn(usize) -> Vec<usize>) -> String {
    let node = |i: usize| {
        let from: Vec<_> = inputs(i).iter().map(|upstream| format!("\"n{upstream}\"")).collect();
        format!("\"n{i}\": Pass(from: [{}]),\n", from.join(", "))
    };
    format!("Graph(nodes: {{\n{}}})", (0..nodes).map(node).collect::<String>())
}
