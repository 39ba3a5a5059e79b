//! The engine alone: 10,000 nodes that do nothing, in a chain and in a fan.
//!
//! A node's share must stay under 20 µs, from a checked graph to its last event.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_engine::{
    Cx, Device, Digest, Document, Dtype, Events, Graph, In, Node, NodeType, Project, Registry, Result, Run,
    Session, Settings, Status, Stop, Value, read_ron,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const NODES: usize = 10_000;

struct Token(u64);

impl Value for Token {
    const TYPE: &'static str = "Token";
    fn digest(&self) -> Digest {
        Digest::of(&self.0.to_le_bytes())
    }
}

/// Pass tokens on.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pass {
    /// Where they come from.
    from: Vec<In<Token>>,
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
fn graph_text(inputs: impl Fn(usize) -> Vec<usize>) -> String {
    let node = |i: usize| {
        let from: Vec<_> = inputs(i).iter().map(|upstream| format!("\"n{upstream}\"")).collect();
        format!("\"n{i}\": Pass(from: [{}]),\n", from.join(", "))
    };
    format!("Graph(nodes: {{\n{}}})", (0..NODES).map(node).collect::<String>())
}

fn shapes() -> [(&'static str, String); 2] {
    let chain = graph_text(|i| if i == 0 { vec![] } else { vec![i - 1] });
    let fan = graph_text(|i| if i == 0 { vec![] } else { vec![0] });
    [("chain", chain), ("fan", fan)]
}

fn engine(criterion: &mut Criterion) {
    let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
    let session = Session::new(Registry::new(1, vec![NodeType::of::<Pass>()]), settings, Project::current());
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(NODES as u64)).sample_size(20);
    for (name, text) in shapes() {
        let read = || {
            let document = Document::new("bench.ron", text.clone());
            let source = read_ron(document, &[], &session.registry);
            Graph::new(source, &session.registry).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        group.bench_function(BenchmarkId::new("read and check", name), |bencher| {
            bencher.iter(|| read().len())
        });
        let graph = read();
        group.bench_function(BenchmarkId::new("run", name), |bencher| {
            bencher.iter(|| {
                let (events, receiver) = Events::channel();
                let run = Run { graph: &graph, session: &session, events, stop: Stop::default(), jobs: 2 };
                assert_eq!(run.execute().status, Status::Done);
                drop(run);
                receiver.iter().count()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
