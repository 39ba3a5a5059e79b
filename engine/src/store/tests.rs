use super::entry::tests::entry;
use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path().join("store"));
    (folder, store)
}

fn files(bytes: &[u8]) -> [StoredFile<'_>; 2] {
    [StoredFile::new("a.txt", bytes), StoredFile::new("b.txt", &b"the same"[..])]
}

fn all_files(store: &Store) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![store.root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn what_is_put_is_found_by_this_and_by_other_processes() {
    let (_folder, store) = store();
    let key = entry(1).key;
    assert_eq!(store.find(&key), None);
    assert!(!store.root().exists(), "looking made a folder");
    store.put(entry(1), Some(&files(b"one"))).unwrap();
    for store in [&store, &Store::at(store.root())] {
        assert_eq!(store.find(&key), Some(Found { digest: entry(1).digest, bytes: Some(11), warns: false }));
        assert_eq!(store.load(&key).unwrap(), files(b"one"));
        assert_eq!(store.find(&entry(2).key), None);
    }
}

#[test]
fn an_entry_is_found_without_the_index() {
    let (_folder, store) = store();
    store.put(entry(1), None).unwrap();
    fs::remove_dir_all(store.root().join("index")).unwrap();
    let found = Store::at(store.root()).find(&entry(1).key);
    assert_eq!(found, Some(Found { digest: entry(1).digest, bytes: None, warns: false }));
}

#[test]
fn equal_files_of_two_results_are_kept_once() {
    let (_folder, store) = store();
    store.put(entry(1), Some(&files(b"one"))).unwrap();
    store.put(entry(2), Some(&files(b"two"))).unwrap();
    let kept = all_files(&store).iter().filter(|path| path.starts_with(store.root().join("files"))).count();
    assert_eq!(kept, 3);
}

#[test]
fn a_flipped_bit_is_found_when_it_is_read_and_what_is_forgotten_can_be_put_again() {
    let (_folder, store) = store();
    let key = entry(1).key;
    store.put(entry(1), Some(&files(b"one"))).unwrap();
    let path = store.file_path(&Digest::of(b"one"));
    fs::write(&path, b"ona").unwrap();
    let error = format!("{:#}", store.load(&key).unwrap_err());
    assert!(error.ends_with("is damaged"), "{error}");
    store.forget(&key).unwrap();
    assert_eq!((store.find(&key), path.exists()), (None, false));
    assert_eq!(Store::at(store.root()).find(&key), None);
    store.put(entry(1), Some(&files(b"one"))).unwrap();
    assert_eq!(store.load(&key).unwrap(), files(b"one"));
}

#[test]
fn verifying_takes_out_what_is_damaged_and_nothing_else() {
    let (_folder, store) = store();
    for seed in 0..4 {
        store.put(entry(seed), Some(&[StoredFile::new("a", seed.to_le_bytes().to_vec())])).unwrap();
    }
    fs::write(store.file_path(&Digest::of(&1u64.to_le_bytes())), b"x").unwrap();
    fs::remove_file(store.file_path(&Digest::of(&2u64.to_le_bytes()))).unwrap();
    fs::write(store.entry_path(&entry(3).key), b"{}").unwrap();
    let verified = store.verify(|_, _| Ok(())).unwrap();
    assert_eq!((verified.whole, verified.damaged.len()), (1, 3));
    assert_eq!(store.list().len(), 1);
    assert_eq!(store.verify(|_, _| Ok(())).unwrap(), Verified { whole: 1, damaged: Vec::new() });
}

#[test]
fn a_sweep_keeps_the_latest_results_that_fit() {
    let (_folder, store) = store();
    for seed in 0..4 {
        store.put(entry(seed), Some(&[StoredFile::new("a", vec![seed as u8; 100])])).unwrap();
        let past = SystemTime::now() - std::time::Duration::from_secs(100 * (4 - seed));
        File::options()
            .append(true)
            .open(store.entry_path(&entry(seed).key))
            .unwrap()
            .set_modified(past)
            .unwrap();
    }
    let dry = store.sweep(Sweep { max_bytes: Some(250), dry_run: true, ..Sweep::default() }).unwrap();
    assert_eq!((dry.entries, store.list().len()), (2, 4));
    let swept = store.sweep(Sweep { max_bytes: Some(250), ..Sweep::default() }).unwrap();
    assert_eq!(swept, Swept { entries: 2, files: 2, bytes: 200, bytes_left: 200 });
    let left: Vec<_> = (0..4).map(|seed| store.find(&entry(seed).key).is_some()).collect();
    assert_eq!(left, [false, false, true, true]);
    let swept = store
        .sweep(Sweep { older_than: Some(std::time::Duration::from_secs(150)), ..Sweep::default() })
        .unwrap();
    assert_eq!((swept.entries, swept.bytes_left), (1, 100));
}

#[test]
fn what_may_just_be_under_way_is_left_alone_by_a_sweep() {
    let (_folder, store) = store();
    store.put(entry(1), Some(&files(b"one"))).unwrap();
    fs::remove_file(store.entry_path(&entry(1).key)).unwrap();
    assert_eq!(store.sweep(Sweep::default()).unwrap().files, 0);
    for path in all_files(&store) {
        let past = SystemTime::now() - std::time::Duration::from_secs(7200);
        File::options().append(true).open(path).unwrap().set_modified(past).unwrap();
    }
    assert_eq!(store.sweep(Sweep::default()).unwrap().files, 2);
}

/// What one of the processes of the next test does.
const CHILD: &str = "FLOW_TEST_STORE";
const BACKWARDS: &str = "FLOW_TEST_STORE_BACKWARDS";

#[test]
fn two_processes_write_and_read_the_same_thousand_results_and_nothing_is_lost_or_torn() {
    const RESULTS: u64 = 1000;
    let value = |seed: u64| vec![seed as u8; 1 + (seed as usize * 37) % 5000];
    if let Some(root) = std::env::var_os(CHILD) {
        let store = Store::at(root);
        for step in 0..RESULTS {
            // They walk in opposite directions, and each reads what it or the other has just written.
            let seed = if std::env::var(BACKWARDS).is_ok() { RESULTS - 1 - step } else { step };
            if store.find(&entry(seed).key).is_none() {
                store.put(entry(seed), Some(&[StoredFile::new("a", value(seed))])).unwrap();
            }
            assert_eq!(*store.load(&entry(seed).key).unwrap()[0].bytes, value(seed));
        }
        return;
    }
    let (_folder, store) = store();
    let this = std::thread::current().name().unwrap_or_default().to_owned();
    let children = [CHILD, BACKWARDS].map(|way| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", &this]).env(way, "1").env(CHILD, store.root());
        child.stdout(std::process::Stdio::null()).spawn().unwrap()
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let again = Store::at(store.root());
    for seed in 0..RESULTS {
        assert_eq!(*again.load(&entry(seed).key).unwrap()[0].bytes, value(seed));
    }
    assert_eq!(again.list().len(), RESULTS as usize);
    assert!(all_files(&again).iter().all(|path| path.extension().is_none_or(|ending| ending != "tmp")));
}

#[test]
fn a_store_that_nobody_may_write_to_says_so() {
    let (folder, _) = store();
    fs::write(folder.path().join("file"), b"").unwrap();
    let error = anyhow::Error::from(io::Error::from(ErrorKind::ReadOnlyFilesystem)).context("cannot write");
    assert!(is_read_only(&error));
    let blocked = Store::at(folder.path().join("file/store"));
    assert!(!is_read_only(&blocked.put(entry(1), None).unwrap_err()));
}
