//! The engine alone: 10,000 nodes that do nothing, in a chain and in a fan.
//!
//! A node's share must stay under 20 µs, from a checked graph to its last event. With a store, there are the files of an
//! entry to write, or an index to ask; and a stored adapter of 12 MB is read at the speed of the disk's cache.

mod passing;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flow_engine::store::{Cost, Entry};
use flow_engine::{
    Before, Device, Digest, Document, Dtype, Events, Graph, KeyParts, NodeType, Options, Project, Ready,
    Registry, Run, ScriptFolders, Session, Settings, State, Status, Stop, Store, StoredFile, Wanted,
    expand_script, read_ron, read_script,
};
use passing::{Pass, graph_text};

const NODES: usize = 10_000;

fn shapes() -> [(&'static str, String); 2] {
    let chain = graph_text(NODES, |i| if i == 0 { vec![] } else { vec![i - 1] });
    let fan = graph_text(NODES, |i| if i == 0 { vec![] } else { vec![0] });
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
        let ready = Ready::unchecked(read(), Wanted::default());
        group.bench_function(BenchmarkId::new("run", name), |bencher| {
            bencher.iter(|| {
                let (events, receiver) = Events::channel();
                let options = Options { jobs: 2, keep_going: false, keep_results: false };
                let run = Run { events, options, ..Run::new(&ready, &session) };
                assert_eq!(run.execute().status, Status::Done);
                drop(run);
                receiver.iter().count()
            });
        });
    }
    group.finish();
}

fn stored_session(folder: &std::path::Path) -> Session {
    let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
    Session::new(Registry::new(1, vec![NodeType::of::<Pass>()]), settings, Project::at(folder)).with_store()
}

/// A run that files 10,000 results, and one that finds them.
fn store(criterion: &mut Criterion) {
    let (_, text) = &shapes()[0];
    let mut group = criterion.benchmark_group("store");
    group.throughput(Throughput::Elements(NODES as u64)).sample_size(10);
    let run = |session: &Session| {
        let source = read_ron(Document::new("bench.ron", text.clone()), &[], &session.registry);
        let graph = Graph::new(source, &session.registry).unwrap_or_else(|problems| panic!("{problems:?}"));
        let ready = Ready::unchecked(graph, Wanted::default());
        assert_eq!(Run::new(&ready, session).execute().status, Status::Done);
    };
    group.bench_function("run and file 10,000 nodes", |bencher| {
        bencher.iter_with_large_drop(|| {
            let folder = tempfile::tempdir().expect("a folder");
            run(&stored_session(folder.path()));
            folder
        });
    });
    let folder = tempfile::tempdir().expect("a folder");
    run(&stored_session(folder.path()));
    group.bench_function("find 10,000 nodes", |bencher| bencher.iter(|| run(&stored_session(folder.path()))));
    group.finish();
}

/// What happens between an edit of a graph of 1,000 nodes and its new plan.
fn reload(criterion: &mut Criterion) {
    let chain = |i: usize| if i == 0 { vec![] } else { vec![i - 1] };
    let folder = tempfile::tempdir().expect("a folder");
    let session = stored_session(folder.path());
    let ready = |text: String| {
        let source = read_ron(Document::new("bench.ron", text), &[], &session.registry);
        let ready = Ready::new(source, &session, Wanted::default());
        ready.unwrap_or_else(|problems| panic!("{problems:?}"))
    };
    assert_eq!(Run::new(&ready(graph_text(1000, chain)), &session).execute().status, Status::Done);
    let edited = graph_text(1001, |i| if i == 1000 { vec![0, 500] } else { chain(i) });
    let mut group = criterion.benchmark_group("reload");
    group.sample_size(20);
    group.bench_function("1,000 nodes, one edited", |bencher| {
        bencher.iter(|| {
            let ready = ready(edited.clone());
            let plan = ready.plan(&session, &Before::nothing(), &Events::silent(), &Stop::default());
            assert_eq!(plan.count(State::Run), 1);
        });
    });
    group.finish();
}

/// A script that makes a thousand nodes, read into a graph and written as a graph file.
fn expand(criterion: &mut Criterion) {
    let registry = Registry::new(1, vec![NodeType::of::<Pass>()]);
    let text = "let all = [Pass(#{ from: [] })];
        for i in 1..1000 { all.push(Pass(#{ from: [all[i / 2], all[i - 1]] }).named(`node ${i}`)); }";
    let script = Document::new("bench.rhai", text);
    let folders = ScriptFolders { script: ".".into(), project: ".".into() };
    let mut group = criterion.benchmark_group("script");
    group.bench_function("into a graph", |bencher| {
        bencher.iter(|| {
            let source = read_script(script.clone(), &folders, &[], &registry);
            Graph::new(source, &registry)
                .map(|graph| graph.len())
                .unwrap_or_else(|problems| panic!("{problems:?}"))
        });
    });
    group.bench_function("into a file", |bencher| {
        bencher.iter(|| {
            let written = expand_script(&script, &folders, &[], &registry).expect("it makes a graph");
            flow_engine::format(&written).expect("it has a layout").len()
        });
    });
    group.finish();
}

/// Reading 12 MB from the store, every byte verified, beside reading the same file without.
fn load(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::at(folder.path());
    let bytes: Vec<u8> = (0..12u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let settings = Settings { device: Device::Cpu, dtype: Dtype::F32 };
    let parts = KeyParts::new("Train", 1, 1, serde_json::json!({}), settings);
    let entry = Entry::new(parts, "Adapter", Digest::of(b"adapter"), Cost::default());
    let key = entry.key;
    store.put(entry, Some(&[StoredFile::new("a.safetensors", &bytes[..])])).expect("room");
    let path = store.file_path(&Digest::of(&bytes));
    let mut group = criterion.benchmark_group("12 MB");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    group.bench_function("load, verified", |bencher| bencher.iter(|| store.load(&key).expect("a hit").len()));
    group.bench_function("read the file", |bencher| {
        bencher.iter(|| std::fs::read(&path).expect("a file").len())
    });
    group.finish();
}

criterion_group!(benches, engine, store, reload, expand, load);
criterion_main!(benches);
