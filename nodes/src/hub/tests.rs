//! What happens between a hub and a cache, with a hub on this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flow_engine::{Cancelled, Problem, Result};
use tempfile::TempDir;

use super::testing::{COMMIT, MODEL, Server, etag};
use super::{Hub, HubId, HubSettings, Lookup, Precision, Wanted};

const UNET: &str = "unet/diffusion_pytorch_model.safetensors";
const HALF_UNET: &str = "unet/diffusion_pytorch_model.fp16.safetensors";

/// Bytes of a large file that fill several chunks.
fn large(seed: usize) -> Vec<u8> {
    (0..600_000).map(|at| (at * 31 + seed + at / 251) as u8).collect()
}

/// A repository in the shape of SDXL's, whose weights are no weights.
fn repository() -> BTreeMap<String, Vec<u8>> {
    let names = "model_index.json README.md scheduler/scheduler_config.json tokenizer/vocab.json \
        tokenizer/merges.txt tokenizer_2/tokenizer.json text_encoder/config.json \
        text_encoder/model.safetensors text_encoder_2/config.json text_encoder_2/model.safetensors \
        vae/config.json vae/diffusion_pytorch_model.safetensors unet/config.json";
    let small = names.split_whitespace().map(|name| (name.to_owned(), name.as_bytes().to_vec()));
    small.chain([(UNET.to_owned(), large(1)), (HALF_UNET.to_owned(), large(2))]).collect()
}

/// A hub, a cache, and who asks.
struct World {
    server: Server,
    cache: TempDir,
    settings: HubSettings,
}

impl World {
    fn new() -> Self {
        let (server, cache) = (Server::with(repository()), tempfile::tempdir().unwrap());
        let settings = HubSettings {
            endpoint: server.url.clone(),
            cache: cache.path().to_owned(),
            token: None,
            offline: false,
        };
        Self { server, cache, settings }
    }

    fn hub(&self) -> Hub {
        Hub { settings: self.settings.clone(), tries: 1 }
    }

    fn fetch(&self) -> Result<PathBuf> {
        self.hub().fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |_, _| Ok(()))
    }

    /// What is told when it fails, and what to do.
    fn told(&self) -> (String, String) {
        let error = self.fetch().err().unwrap();
        (error.to_string(), Problem::hint_of(&error).unwrap_or_default().to_owned())
    }

    fn blobs(&self) -> PathBuf {
        self.cache.path().join("models--tiny--mini-sdxl/blobs")
    }

    fn partial(&self, bytes: &[u8]) -> PathBuf {
        self.blobs().join(format!("{}.incomplete", etag(UNET, bytes)))
    }
}

fn id() -> HubId {
    HubId::of(&format!("hub:{MODEL}")).unwrap().unwrap()
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn the_first_run_downloads_what_is_needed_and_the_second_asks_nobody() {
    let World { server, cache, settings } = World::new();
    let hub = Hub::new(settings);
    let folder = hub.fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |_, _| Ok(())).unwrap();
    let mut sent = server.sent();
    sent.sort();
    let needed = repository().into_keys().filter(|name| name != "README.md" && name != HALF_UNET);
    assert_eq!(sent, needed.collect::<Vec<_>>());
    assert_eq!(read(&folder, UNET), large(1));

    drop(server);
    assert_eq!(
        hub.fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |_, _| panic!("nothing to do")).unwrap(),
        folder
    );
    drop(cache);
}

#[test]
fn the_cache_has_the_layout_of_the_python_tools() {
    let world = World::new();
    let folder = world.fetch().unwrap();
    let model = world.cache.path().join("models--tiny--mini-sdxl");
    assert_eq!(folder, model.join("snapshots").join(COMMIT));
    assert_eq!(std::fs::read_to_string(model.join("refs/main")).unwrap(), COMMIT);
    let blob = etag(UNET, &large(1));
    #[cfg(unix)]
    assert_eq!(std::fs::read_link(folder.join(UNET)).unwrap(), Path::new("../../../blobs").join(&blob));
    let names = std::fs::read_dir(world.blobs()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    assert!(names.contains(&blob));
    assert!(names.iter().all(|name| name.len() == 40 || name.len() == 64), "{names:?}");
}

#[test]
fn a_run_in_halves_takes_halves_and_full_precision_comes_when_it_is_wanted() {
    let world = World::new();
    let (hub, quiet) = (world.hub(), &mut |_, _| Ok(()));
    let folder = hub.fetch(&id(), Wanted::Sdxl, Precision::Half, quiet).unwrap();
    assert!(folder.join(HALF_UNET).is_file() && !folder.join(UNET).exists());
    assert_eq!(hub.cached(&id(), Wanted::Sdxl, Precision::Full), None);
    assert_eq!(hub.cached(&id(), Wanted::Sdxl, Precision::Any), Some(folder.clone()));
    world.server.asked();
    hub.fetch(&id(), Wanted::Sdxl, Precision::Full, quiet).unwrap();
    assert_eq!(world.server.sent(), [UNET]);
}

#[test]
fn a_branch_stays_at_its_commit_when_another_precision_is_brought() {
    let world = World::new();
    world.hub().fetch(&id(), Wanted::Sdxl, Precision::Half, &mut |_, _| Ok(())).unwrap();
    let listed = |precision| {
        world.server.asked();
        world.hub().fetch(&id(), Wanted::Sdxl, precision, &mut |_, _| Ok(())).unwrap();
        let asked = world.server.asked().into_iter().map(|asked| asked.path);
        asked.filter_map(|path| Some(path.split_once("/revision/")?.1.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(listed(Precision::Full), [format!("{COMMIT}?blobs=true")]);
    // A commit that the hub has forgotten: the branch itself is what is left.
    let refs = world.cache.path().join("models--tiny--mini-sdxl/refs/main");
    let gone = "f".repeat(40);
    std::fs::write(&refs, &gone).unwrap();
    assert_eq!(listed(Precision::Full), [format!("{gone}?blobs=true"), "main?blobs=true".to_owned()]);
    assert_eq!(std::fs::read_to_string(refs).unwrap(), COMMIT);
}

#[test]
fn sizes_that_no_disk_has_do_not_overflow() {
    let world = World::new();
    world.server.rules(|rules| rules.size = Some(u64::MAX));
    let told = world.hub().look_up(&id(), Wanted::Sdxl, Precision::Full).unwrap();
    assert!(matches!(told, Lookup::There { size_bytes: Some(u64::MAX) }), "{told:?}");
    assert!(world.told().0.contains("ended after"), "{:?}", world.told());
}

#[test]
fn a_model_that_has_halves_alone_is_complete_with_them() {
    let mut files = repository();
    files.remove(UNET);
    let world = World { server: Server::with(files), ..World::new() };
    let settings = HubSettings { endpoint: world.server.url.clone(), ..world.settings.clone() };
    let hub = Hub { settings, tries: 1 };
    let folder = hub.fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |_, _| Ok(())).unwrap();
    assert_eq!(hub.cached(&id(), Wanted::Sdxl, Precision::Full), Some(folder));
}

#[test]
fn an_interrupted_download_goes_on_where_it_was() {
    let world = World::new();
    world.server.rules(|rules| rules.cut = Some((UNET.to_owned(), 300_000)));
    let (message, hint) = world.told();
    assert!(message.contains(UNET), "{message}");
    assert!(hint.contains("goes on"), "{hint}");
    assert_eq!(std::fs::read(world.partial(&large(1))).unwrap(), large(1)[..300_000]);
    assert_eq!(world.hub().cached(&id(), Wanted::Sdxl, Precision::Any), None);

    world.server.rules(|rules| rules.cut = None);
    world.server.asked();
    let mut seen = Vec::new();
    let folder = world.hub().fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |done, total| {
        seen.push((done, total));
        Ok(())
    });
    assert_eq!(read(&folder.unwrap(), UNET), large(1));
    let ranges: Vec<_> = world.server.asked().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!(ranges, ["bytes=300000-"]);
    assert!(seen.is_sorted() && seen.last().is_some_and(|(done, total)| done == total), "{seen:?}");
    assert!(!world.partial(&large(1)).exists());
}

#[test]
fn a_download_that_breaks_off_is_taken_up_again_in_the_same_run() {
    let world = World::new();
    world.server.rules(|rules| rules.cut = Some((UNET.to_owned(), 250_000)));
    let hub = Hub { tries: 2, ..world.hub() };
    let folder = hub.fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |_, _| Ok(())).unwrap();
    assert_eq!(read(&folder, UNET), large(1));
    let ranges: Vec<_> = world.server.asked().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!(ranges, ["bytes=250000-", "bytes=500000-"]);
}

#[test]
fn a_hub_that_cannot_send_parts_sends_it_all_again() {
    let world = World::new();
    std::fs::create_dir_all(world.blobs()).unwrap();
    std::fs::write(world.partial(&large(1)), &large(1)[..1000]).unwrap();
    world.server.rules(|rules| rules.no_ranges = true);
    assert_eq!(read(&world.fetch().unwrap(), UNET), large(1));
}

#[test]
fn a_wrong_digest_is_refused_and_nothing_of_it_is_kept() {
    let world = World::new();
    world.server.rules(|rules| rules.corrupt = Some(UNET.to_owned()));
    let (message, _) = world.told();
    assert!(message.contains("wrong digest") && message.contains(UNET), "{message}");
    assert!(!world.partial(&large(1)).exists());
    assert!(!world.blobs().join(etag(UNET, &large(1))).exists());
    world.server.rules(|rules| rules.corrupt = None);
    assert_eq!(read(&world.fetch().unwrap(), UNET), large(1));
}

#[test]
fn what_an_earlier_run_left_damaged_is_found_by_its_digest() {
    let world = World::new();
    std::fs::create_dir_all(world.blobs()).unwrap();
    std::fs::write(world.partial(&large(1)), vec![7; 1000]).unwrap();
    assert!(world.told().0.contains("wrong digest"));
    assert_eq!(read(&world.fetch().unwrap(), UNET), large(1));
}

#[test]
fn refusals_say_what_to_do() {
    let world = World::new();
    let told = |status, code| {
        world.server.rules(|rules| rules.refuse = Some((status, code)));
        world.told()
    };
    let (message, hint) = told(404, "RepoNotFound");
    assert!(
        message.contains("has no model `tiny/mini-sdxl`") && hint.contains("check owner"),
        "{message} {hint}"
    );
    let (message, hint) = told(401, "");
    assert!(message.contains("tiny/mini-sdxl") && hint.contains("HF_TOKEN"), "{message} {hint}");
    for status in [401, 403] {
        let (message, hint) = told(status, "GatedRepo");
        assert!(message.contains("licence") && hint.contains("HF_TOKEN"), "{message} {hint}");
        assert!(hint.contains(&format!("{}/{MODEL}", world.server.url)), "{hint}");
    }
    assert!(told(429, "").1.contains("wait"));
    assert!(told(503, "").0.contains("in trouble"));
}

#[test]
fn a_revision_or_a_file_that_is_absent_is_told_by_name() {
    let world = World::new();
    let other = HubId { revision: "v2".into(), ..id() };
    let error = world.hub().fetch(&other, Wanted::Sdxl, Precision::Full, &mut |_, _| Ok(())).err().unwrap();
    assert!(error.to_string().contains("has no revision `v2`"), "{error}");
    world.server.rules(|rules| rules.absent = Some(UNET.to_owned()));
    assert!(world.told().0.contains(UNET));
}

#[test]
fn a_repository_that_is_no_model_says_what_it_lacks() {
    let mut files = repository();
    files.remove(UNET);
    files.remove(HALF_UNET);
    files.insert("unet/diffusion_pytorch_model.bin".into(), vec![0]);
    let world = World::new();
    let server = Server::with(files);
    let hub = Hub::new(HubSettings { endpoint: server.url.clone(), ..world.settings.clone() });
    let error = hub.look_up(&id(), Wanted::Sdxl, Precision::Full).err().unwrap();
    assert!(error.to_string().contains(UNET), "{error}");
    assert!(Problem::hint_of(&error).is_some_and(|hint| hint.contains("pickles")), "{error:?}");
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let mut world = World::new();
    let cdn = Server::with(repository());
    world.server.rules(|rules| rules.cdn = Some(cdn.url.clone()));
    world.settings.token = Some("secret".into());
    world.fetch().unwrap();
    let asked = world.server.asked();
    assert!(asked.iter().all(|asked| asked.token.as_deref() == Some("Bearer secret")), "{asked:?}");
    let sent = cdn.asked();
    assert_eq!(sent.len(), 4);
    assert!(sent.iter().all(|asked| asked.token.is_none()), "{sent:?}");
}

#[test]
fn a_hub_that_lists_names_alone_is_asked_for_each_digest() {
    let world = World::new();
    let cdn = Server::with(repository());
    world.server.rules(|rules| (rules.names_only, rules.cdn) = (true, Some(cdn.url.clone())));
    let folder = world.fetch().unwrap();
    assert_eq!(read(&folder, UNET), large(1));
    assert!(world.blobs().join(etag(UNET, &large(1))).is_file());
}

#[test]
fn a_stop_is_heard_within_a_file_and_what_came_is_kept() {
    let world = World::new();
    let stopped = world.hub().fetch(&id(), Wanted::Sdxl, Precision::Full, &mut |done, _| {
        if done > 300_000 { Err(Cancelled.into()) } else { Ok(()) }
    });
    assert!(stopped.err().unwrap().downcast_ref::<Cancelled>().is_some());
    assert!(world.partial(&large(1)).metadata().unwrap().len() > 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_as_one_and_leaves_nothing_under_a_final_name() {
    let world = World::new();
    std::fs::create_dir_all(world.blobs()).unwrap();
    // Whatever is written there finds the disk full.
    std::os::unix::fs::symlink("/dev/full", world.partial(&large(1))).unwrap();
    let (message, hint) = world.told();
    assert!(message.contains("the disk is full") && message.contains(UNET), "{message}");
    assert!(hint.contains("HF_HUB_CACHE"), "{hint}");
    assert!(!world.blobs().join(etag(UNET, &large(1))).exists());
    assert_eq!(world.hub().cached(&id(), Wanted::Sdxl, Precision::Any), None);
}

#[test]
fn four_at_once_download_every_file_once() {
    let world = World::new();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| world.fetch().unwrap())).collect();
        all.into_iter().for_each(|one| assert_eq!(read(&one.join().unwrap(), UNET), large(1)));
    });
    let sent = world.server.sent();
    assert_eq!(sent.iter().filter(|name| *name == UNET).count(), 1);
}

#[test]
fn offline_only_what_is_in_the_cache_is_had() {
    let mut world = World::new();
    world.settings.offline = true;
    let (message, _) = world.told();
    assert!(message.contains("is not in the cache"), "{message}");
    assert!(world.server.asked().is_empty());
    world.settings.offline = false;
    world.hub().fetch(&id(), Wanted::Sdxl, Precision::Half, &mut |_, _| Ok(())).unwrap();
    world.settings.offline = true;
    // Halves are better than nothing.
    world.fetch().unwrap();
}

#[test]
fn looking_up_writes_nothing_and_a_hub_that_is_gone_is_no_mistake() {
    let World { server, cache, settings } = World::new();
    let hub = Hub::new(settings);
    let size = match hub.look_up(&id(), Wanted::Sdxl, Precision::Full).unwrap() {
        Lookup::There { size_bytes } => size_bytes.unwrap(),
        Lookup::Unreachable(problem) => panic!("{problem}"),
    };
    assert!((600_000..700_000).contains(&size));
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
    drop(server);
    assert!(matches!(hub.look_up(&id(), Wanted::Sdxl, Precision::Full), Ok(Lookup::Unreachable(_))));
}
