//! Files in folders that come and go, and behind links.

use std::fs;

use super::Scene;

#[test]
fn a_file_that_does_not_exist_is_told_when_it_does() {
    let scene = Scene::of(&["absent"]);
    scene.write("absent", "new");
    scene.is_told("absent");
}

#[test]
fn folders_that_do_not_exist_are_told_only_for_the_file_in_them() {
    let scene = Scene::of(&["a/b/c/file"]);
    scene.make_folder("a");
    scene.is_quiet();
    scene.make_folder("a/b/c");
    scene.is_quiet();
    scene.write("a/b/c/file", "new");
    scene.is_told("a/b/c/file");
    scene.write("a/b/c/file", "newer");
    scene.is_told("a/b/c/file");
}

#[test]
fn a_file_that_comes_with_its_folders_is_told() {
    let scene = Scene::of(&["a/b/file"]);
    scene.make_folder("a/b");
    scene.write("a/b/file", "new");
    scene.is_told("a/b/file");
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_followed_again() {
    let scene = Scene::of(&[]);
    scene.make_folder("a");
    scene.write("a/file", "old");
    scene.watch(&["a/file"]);
    for text in ["new", "newer"] {
        fs::remove_dir_all(scene.path("a")).unwrap();
        scene.is_told("a/file");
        scene.make_folder("a");
        scene.write("a/file", text);
        scene.is_told("a/file");
        scene.settle();
        fs::remove_dir_all(scene.path("a")).unwrap();
        scene.make_folder("a");
        scene.write("a/file", text);
        scene.is_told("a/file");
        scene.settle();
        scene.write("a/file", "newest");
        scene.is_told("a/file");
        scene.settle();
    }
}

#[test]
fn a_folder_that_is_renamed_away_and_back_is_followed_again() {
    let scene = Scene::of(&[]);
    scene.make_folder("a/b");
    scene.write("a/b/file", "old");
    scene.watch(&["a/b/file"]);
    // The folder of the file, of which the system tells, and the one above, which has to be looked at.
    for (here, away) in [("a/b", "a/away"), ("a", "away")] {
        scene.rename(here, away);
        scene.is_told("a/b/file");
        scene.settle();
        fs::write(scene.path(away).join("file"), "elsewhere").unwrap();
        scene.is_quiet();
        scene.rename(away, here);
        scene.is_told("a/b/file");
        scene.settle();
        scene.write("a/b/file", "new");
        scene.is_told("a/b/file");
        scene.settle();
    }
}

#[test]
fn another_folder_in_the_place_of_one_is_followed() {
    let scene = Scene::of(&[]);
    for folder in ["a/b", "new/b"] {
        scene.make_folder(folder);
        scene.write(&format!("{folder}/file"), folder);
    }
    scene.watch(&["a/b/file"]);
    scene.rename("a", "away");
    scene.rename("new", "a");
    scene.is_told("a/b/file");
    scene.settle();
    scene.write("away/b/file", "elsewhere");
    scene.is_quiet();
    scene.write("a/b/file", "newer");
    scene.is_told("a/b/file");
}

#[cfg(unix)]
#[test]
fn a_link_the_file_behind_it_and_a_link_to_a_folder_are_told() {
    use std::os::unix::fs::symlink;
    let scene = Scene::of(&[]);
    for folder in ["links", "files", "others"] {
        scene.make_folder(folder);
        scene.write(&format!("{folder}/file"), folder);
    }
    symlink("../files", scene.path("links/folder")).unwrap();
    symlink("folder/file", scene.path("links/link")).unwrap();
    scene.watch(&["links/link"]);
    scene.write("files/file", "new");
    scene.is_told("links/link");
    scene.settle();

    let point = |link: &str, target: &str| {
        symlink(target, scene.path("links/new")).unwrap();
        scene.rename("links/new", link);
        scene.is_told("links/link");
        scene.settle();
    };
    point("links/folder", "../others");
    scene.write("files/file", "newer");
    scene.is_quiet();
    scene.write("others/file", "newer");
    scene.is_told("links/link");
    scene.settle();
    point("links/link", "absent");
    scene.write("links/absent", "new");
    scene.is_told("links/link");
}
