//! `OrderReport`: what the order of two adapters does.

use std::collections::BTreeMap;

use flow_engine::{Cx, In, Node, Problem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::adapter::Adapter;
use crate::adapter::fold::{Applied, Scales};
use crate::adapter::order::{Erasure, erasures, meeting, span};
use crate::model::Model;
use crate::report::{Cell, Report};

/// Measure, layer by layer, what two adapters do to each other.
///
/// For a PaRa and a LoRA: how much of the LoRA a later PaRa erases, `‖Q Qᵀ B A‖ / ‖B A‖` (Frobenius), and the principal
/// angles between the span of `Q` and that of `B`. With the PaRa first, nothing is erased. For two PaRas: the rank that
/// removal in turn and joint removal take away, and how far apart the two are. Only layers that both change are
/// listed; elsewhere the order does not matter.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderReport {
    /// The model that they are for.
    pub model: In<Model>,
    /// The one that is applied first, in one of the orders.
    pub first: In<Adapter>,
    /// The other one.
    pub second: In<Adapter>,
}

impl Node for OrderReport {
    const KIND: &'static str = "OrderReport";
    type Output = Report;

    fn run(&self, cx: &Cx<'_>) -> Result<Report> {
        let model = cx.input(&self.model)?.up_to(0);
        let mut model = model;
        for wire in [&self.first, &self.second] {
            let adapter = cx.input(wire)?;
            if adapter.steps().len() != 1 {
                return Err(Problem::new(format!("`{}` is a list of adapters", adapter.name()))
                    .hint("give two adapters, one for each wire")
                    .into());
            }
            model = model.with(&adapter, Scales::both(1.0), false)?;
        }
        let [first, second] = model.applied() else { return Err(not_a_pair(&model).into()) };
        match (first.single.is("PaRa"), second.single.is("PaRa")) {
            (true, true) => two_paras(first, second, cx),
            (true, false) if second.single.is("LoRA") => para_and_lora(first, second, cx),
            (false, true) if first.single.is("LoRA") => para_and_lora(second, first, cx),
            _ => Err(not_a_pair(&model).into()),
        }
    }
}

fn not_a_pair(model: &Model) -> Problem {
    let kinds: Vec<_> =
        model.applied().iter().map(|a| format!("`{}` is {}", a.single.name(), a.single.kind())).collect();
    Problem::new(format!(
        "an order is measured between two PaRas, or a PaRa and a LoRA: {}",
        kinds.join(", ")
    ))
}

fn para_and_lora(para: &Applied, lora: &Applied, cx: &Cx<'_>) -> Result<Report> {
    let (para_name, lora_name) = (para.single.name(), lora.single.name());
    let layers = erasures(para, lora)?;
    let norm = |of: fn(&Erasure) -> f64| layers.iter().map(|layer| of(layer).powi(2)).sum::<f64>().sqrt();
    let (erased, added) = (norm(|layer| layer.erased), norm(|layer| layer.added));
    let share = if added > 0.0 { erased / added } else { 0.0 };
    cx.metric("erased share", share, None, "");
    let rows = layers.iter().map(|layer| {
        vec![
            Cell::Text(layer.target.module().to_owned()),
            Cell::Number(layer.erased),
            Cell::Number(layer.added),
            Cell::Number(if layer.added > 0.0 { layer.erased / layer.added } else { 0.0 }),
            Cell::Numbers(degrees(&layer.cosines)),
        ]
    });
    Ok(Report {
        title: format!("`{para_name}` (PaRa) and `{lora_name}` (LoRA)"),
        notes: vec![
            format!(
                "Applied after the LoRA, the PaRa erases {:.2} % of what the LoRA adds on the {} layers that both \
                 change. Applied before it, nothing.",
                100.0 * share,
                layers.len()
            ),
            "An angle of 0° is a direction of the LoRA that is erased whole; at 90° it is left alone.".into(),
        ],
        settings: BTreeMap::new(),
        columns: ["layer", "‖QQᵀBA‖", "‖BA‖", "share", "angles (°)"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
    })
}

fn two_paras(first: &Applied, second: &Applied, cx: &Cx<'_>) -> Result<Report> {
    let mut rows = Vec::new();
    let (mut joint, mut in_turn, mut gap) = (0, 0, 0.0f64);
    for target in first.bound.targets() {
        let (Some(q1), Some(q2)) = (span(first, target)?, span(second, target)?) else { continue };
        let meeting = meeting(&q1, &q2)?;
        joint += meeting.joint;
        in_turn += meeting.in_turn();
        gap = gap.max(meeting.gap());
        rows.push(vec![
            Cell::Text(target.module().to_owned()),
            Cell::Count(meeting.ranks[0]),
            Cell::Count(meeting.ranks[1]),
            Cell::Count(meeting.joint),
            Cell::Count(meeting.in_turn()),
            Cell::Number(meeting.gap()),
            Cell::Numbers(degrees(&meeting.cosines)),
        ]);
    }
    cx.metric("largest gap", gap, None, "");
    Ok(Report {
        title: format!("`{}` and `{}` (PaRa)", first.single.name(), second.single.name()),
        notes: vec![
            format!(
                "On the {} layers that both change, joint removal takes {joint} directions and removal in turn \
                 {in_turn}, for weights of full row rank. The largest singular value of the difference of the two is \
                 {gap:.4}; 0 means that the order does not matter.",
                rows.len()
            ),
            "The paper calls joint removal and removal in turn equal; they are so where all angles are 0° or 90°.".into(),
        ],
        settings: BTreeMap::new(),
        columns: ["layer", "rank of the first", "rank of the second", "joint", "in turn", "gap", "angles (°)"]
            .map(str::to_owned)
            .to_vec(),
        rows,
    })
}

/// Angles in degrees, the smallest first.
fn degrees(cosines: &[f64]) -> Vec<f64> {
    cosines.iter().map(|cosine| cosine.clamp(-1.0, 1.0).acos().to_degrees()).collect()
}
