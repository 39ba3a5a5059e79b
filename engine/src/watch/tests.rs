//! On real files: every way in which editors save.

mod folders;

use std::fs;
use std::process::Command;
use std::sync::mpsc::Receiver;

use tempfile::TempDir;

use super::*;

const DEBOUNCE: Duration = Duration::from_millis(40);
/// Longer than a loaded machine needs to tell of an edit.
const PATIENT: Duration = Duration::from_secs(20);
/// Longer than an idle machine needs to tell of an edit.
const BRIEF: Duration = Duration::from_millis(300);
/// A debounce that takes in several saves, even on a loaded machine.
const LONG: Duration = Duration::from_millis(500);

/// A folder, and a watch of some files in it.
struct Scene {
    folder: TempDir,
    watch: Watch,
    told: Receiver<Sighting>,
}

impl Scene {
    /// Watches files in a folder that holds `file`, with `old` in it, and `other`.
    fn of(watched: &[&str]) -> Self {
        Self::debouncing(DEBOUNCE, watched)
    }

    fn debouncing(debounce: Duration, watched: &[&str]) -> Self {
        let (sender, told) = channel();
        Self::with(watched, Watch::new(debounce, sender).unwrap(), told)
    }

    fn polling(watched: &[&str]) -> Self {
        let (sender, told) = channel();
        let watch = Watch::polling(DEBOUNCE, Duration::from_millis(30), sender).unwrap();
        Self::with(watched, watch, told)
    }

    fn with(watched: &[&str], watch: Watch, told: Receiver<Sighting>) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap(), watch, told };
        scene.write("file", "old");
        scene.write("other", "old");
        scene.watch(watched);
        scene
    }

    fn watch(&self, names: &[&str]) {
        self.watch.set_files(names.iter().map(|name| self.path(name))).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn make_folder(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
    }

    /// The files of the next report.
    fn next_report(&self) -> BTreeSet<PathBuf> {
        match self.told.recv_timeout(PATIENT).unwrap() {
            Sighting::Edited(files) => files,
            Sighting::Worse(problem) => panic!("{problem}"),
        }
    }

    /// Waits for a report of `file` and nothing else. A slow machine saves in parts, which are told one by one.
    fn is_told(&self, file: &str) {
        assert_eq!(self.next_report(), [self.path(file)].into());
    }

    /// Nothing more is told.
    fn is_quiet(&self) {
        assert_eq!(self.told.recv_timeout(BRIEF).ok(), None);
    }

    /// Forgets what is still told of earlier steps.
    fn settle(&self) {
        while self.told.recv_timeout(4 * DEBOUNCE).is_ok() {}
    }
}

#[test]
fn a_file_that_is_written_in_place_is_told() {
    let scene = Scene::of(&["file"]);
    scene.write("file", "new");
    scene.is_told("file");
}

#[test]
fn a_file_that_another_is_renamed_over_is_told_every_time() {
    let scene = Scene::of(&["file"]);
    for text in ["new", "newer", "newest"] {
        scene.write("file___jb_tmp___", text);
        scene.rename("file___jb_tmp___", "file");
        scene.is_told("file");
        scene.is_quiet();
    }
}

#[test]
fn a_file_that_is_moved_to_a_backup_and_written_anew_is_told() {
    let scene = Scene::of(&["file"]);
    scene.rename("file", "file~");
    scene.write("file", "new");
    fs::remove_file(scene.path("file~")).unwrap();
    scene.is_told("file");
}

#[test]
fn a_file_that_is_removed_is_told_and_told_again_when_it_is_back() {
    let scene = Scene::of(&["file"]);
    fs::remove_file(scene.path("file")).unwrap();
    scene.is_told("file");
    scene.write("file", "new");
    scene.is_told("file");
    fs::remove_file(scene.path("file")).unwrap();
    scene.write("file", "newer");
    scene.is_told("file");
}

#[test]
fn a_file_that_is_replaced_and_then_removed_is_told() {
    let scene = Scene::of(&["file"]);
    scene.write("new", "new");
    scene.rename("new", "file");
    fs::remove_file(scene.path("file")).unwrap();
    scene.is_told("file");
}

#[test]
fn a_file_that_comes_and_goes_at_once_has_not_changed() {
    let scene = Scene::debouncing(LONG, &["absent"]);
    scene.write("absent", "new");
    fs::remove_file(scene.path("absent")).unwrap();
    assert_eq!(scene.told.recv_timeout(LONG + BRIEF).ok(), None);
}

#[test]
fn saves_close_together_are_one_report_of_all_files() {
    let scene = Scene::debouncing(LONG, &["file", "other"]);
    for text in ["new", "newer"] {
        scene.write("file", text);
        scene.write("other", text);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(scene.next_report(), [scene.path("file"), scene.path("other")].into());
    assert_eq!(scene.told.recv_timeout(LONG + BRIEF).ok(), None);
}

#[test]
fn a_neighbour_is_not_told() {
    let scene = Scene::of(&["file"]);
    scene.write("other", "new");
    scene.write("new", "new");
    scene.rename("new", "other");
    scene.is_quiet();
}

#[test]
fn reading_is_not_told() {
    for scene in [Scene::of(&["file"]), Scene::polling(&["file"])] {
        for _ in 0..3 {
            assert_eq!(fs::read(scene.path("file")).unwrap(), b"old");
            fs::read_dir(scene.folder.path()).unwrap().for_each(drop);
        }
        scene.is_quiet();
    }
}

#[test]
fn files_are_named_as_they_were_given() {
    let scene = Scene::of(&[]);
    scene.make_folder("a");
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let root = scene.folder.path().canonicalize().unwrap();
    let relative = up.join(root.strip_prefix("/").unwrap()).join("file");
    let roundabout = scene.path("a/.././a/../file");
    scene.watch.set_files([relative.clone(), roundabout.clone()]).unwrap();
    scene.write("file", "new");
    assert_eq!(scene.next_report(), [relative, roundabout].into());
}

#[test]
fn other_files_can_be_watched_instead_and_no_edit_in_between_is_lost() {
    let scene = Scene::of(&["file"]);
    scene.write("file", "new");
    scene.watch(&["file", "other"]);
    scene.is_told("file");
    scene.settle();
    scene.write("other", "new");
    scene.is_told("other");
    scene.settle();
    scene.watch(&["other"]);
    scene.write("file", "newer");
    scene.is_quiet();
    scene.watch(&[]);
    scene.write("other", "newer");
    scene.is_quiet();
}

#[test]
fn thousands_of_files_in_a_few_folders_are_watched_soon_and_told_at_once() {
    let scene = Scene::of(&[]);
    let names: Vec<_> = (0..5000).map(|index| format!("{}/{index}", index % 3)).collect();
    (0..3).for_each(|index| scene.make_folder(&index.to_string()));
    names.iter().for_each(|name| scene.write(name, "old"));
    let started = Instant::now();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    scene.watch(&names);
    scene.watch(&names[1..]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    scene.write("0/0", "new");
    scene.write("2/4997", "new");
    scene.is_told("2/4997");
}

#[test]
fn looking_at_files_tells_of_every_edit_too() {
    let scene = Scene::polling(&["file", "absent", "a/b/file"]);
    scene.write("file", "newer");
    scene.is_told("file");
    scene.settle();
    scene.write("absent", "new");
    scene.is_told("absent");
    scene.settle();
    scene.write("new", "replaced");
    scene.rename("new", "file");
    scene.is_told("file");
    scene.make_folder("a/b");
    scene.write("other", "new");
    scene.is_quiet();
    scene.write("a/b/file", "new");
    scene.is_told("a/b/file");
    scene.settle();
    fs::remove_dir_all(scene.path("a")).unwrap();
    scene.is_told("a/b/file");
    scene.is_quiet();
}

#[test]
fn files_are_looked_at_when_the_system_cannot_watch_more_folders() {
    let scene = Scene::of(&["file"]);
    let full = notify::Error::new(notify::ErrorKind::MaxFilesWatch);
    scene.watch.line.send(Word::Noticed(Err(full))).unwrap();
    let Sighting::Worse(problem) = scene.told.recv_timeout(PATIENT).unwrap() else { panic!() };
    assert!(problem.to_string().starts_with("the system cannot watch folders: OS file watch limit"));
    assert_eq!(Problem::hint_of(&problem.into()), Some("raise fs.inotify.max_user_watches"));
    scene.write("file", "newer");
    scene.is_told("file");
}

#[test]
fn every_file_is_told_when_the_system_has_lost_count() {
    let scene = Scene::of(&["file", "other", "absent"]);
    let lost = notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    scene.watch.line.send(Word::Noticed(Ok(lost))).unwrap();
    assert_eq!(scene.next_report(), [scene.path("file"), scene.path("other")].into());
}

/// Saves with a program as people do; it may not be installed.
fn is_told_when_saved_by(program: &str, arguments: &[&str]) {
    let scene = Scene::of(&["file"]);
    for _ in 0..2 {
        let mut command = Command::new(program);
        match command.args(arguments).arg("file").current_dir(scene.folder.path()).status() {
            Err(error) => return eprintln!("skipped: {program} cannot be run: {error}"),
            Ok(status) => assert!(status.success(), "{program} {status}"),
        }
        scene.is_told("file");
        scene.settle();
    }
    assert!(fs::read_to_string(scene.path("file")).unwrap().starts_with("newnewold"));
}

#[test]
fn vim_is_told_whether_it_writes_a_new_file_or_into_the_old_one() {
    for backupcopy in ["set backupcopy=no", "set backupcopy=yes"] {
        is_told_when_saved_by("vim", &["-Nu", "NONE", "-es", "-c", backupcopy, "-c", "s/^/new/", "-c", "wq"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn sed_is_told() {
    is_told_when_saved_by("sed", &["-i", "s/^/new/"]);
}
