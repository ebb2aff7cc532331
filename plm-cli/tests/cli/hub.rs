use std::fs;
use std::path::{Path, PathBuf};

use crate::{command, picture, plm, tiny, tiny_dir};

/// A cache that holds the tiny fixture as revision `main` of `owner/name`.
fn cache(home: &Path) -> PathBuf {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let repo = home.join("hub/models--owner--name");
    let snapshot = repo.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), commit).unwrap();
    for file in fs::read_dir(tiny_dir()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), snapshot.join(file.file_name())).unwrap();
    }
    snapshot
}

#[test]
fn a_hub_id_is_answered_from_the_cache() {
    let home = tempfile::tempdir().unwrap();
    let snapshot = cache(home.path());
    let run = |args: &[&str]| {
        let output = command(args).env("HF_HOME", home.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let folder = run(&["download", "owner/name"]);
    assert_eq!(Path::new(folder.trim_end()), snapshot);
    let ask = ["generate", "--prompt", "Hello.", "--max-new-tokens", "4"];
    let answer = run(&[&ask[..], &["--model", "owner/name"]].concat());
    assert_eq!(answer, tiny(&ask).ok());
    assert_eq!(
        run(&[&ask[..], &["-m", folder.trim_end()]].concat()),
        answer
    );
}

#[test]
fn what_needs_no_weights_fetches_none() {
    let home = tempfile::tempdir().unwrap();
    let snapshot = cache(home.path());
    fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    let image = picture("shapes.png");
    let run = |args: &[&str]| {
        let args = [args, &["--model", "owner/name"]].concat();
        let output = command(&args).env("HF_HOME", home.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), stderr)
    };
    for args in [
        &["generate", "--prompt", "Hello.", "--estimate"][..],
        &["tokenize", "--text", "Hello."],
        &["preprocess", "--image", &image],
    ] {
        assert_eq!(run(args), (true, String::new()), "{args:?}");
    }
    let (success, stderr) = run(&["generate", "--prompt", "Hello."]);
    assert!(!success && stderr.contains("model.safetensors"), "{stderr}");
}

#[test]
fn what_is_not_in_the_cache_is_not_fetched_offline() {
    let run = plm(&["generate", "--prompt", "a", "-m", "owner/name"]);
    for part in ["`owner/name` is no folder here", "offline mode is on"] {
        assert!(run.error().contains(part), "{}", run.shown());
    }
    let run = plm(&["download", "owner/name", "--revision", "v1"]);
    for part in ["`v1`", "offline mode is on"] {
        assert!(run.error().contains(part), "{}", run.shown());
    }
    let run = plm(&["download", "no id"]);
    assert!(run.error().contains("owner/name"), "{}", run.shown());
}
