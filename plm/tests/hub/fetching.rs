//! What arrives, and what is asked for.

use std::fs;
use std::sync::{Arc, Mutex};

use plm::hub::{DownloadProgress, HubError, HubOptions, download};
use tempfile::tempdir;

use crate::server::{COMMIT, Hub, REPO, Seen, TOKEN, sha256};
use crate::{options, sharded, single, weights};

fn names_in(dir: &std::path::Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn bodies(log: &[Seen]) -> Vec<&Seen> {
    log.iter().filter(|seen| seen.method == "GET").collect()
}

#[test]
fn a_checkpoint_lands_in_the_layout_of_the_hub() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();

    let repo = cache.path().join("models--owner--Tiny-PLM");
    assert_eq!(snapshot.commit, COMMIT);
    assert_eq!(snapshot.dir, repo.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(
        names_in(&snapshot.dir),
        [
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "processor_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
    );
    let files = single();
    for name in names_in(&snapshot.dir) {
        assert!(
            fs::read(snapshot.dir.join(&name)).unwrap() == files[&name],
            "{name}"
        );
    }
    let blob = sha256(&files["model.safetensors"]);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(snapshot.dir.join("model.safetensors")).unwrap(),
        std::path::Path::new("../../blobs").join(&blob)
    );
    let blobs = names_in(&repo.join("blobs"));
    assert_eq!(blobs.len(), 8);
    assert!(blobs.contains(&blob) && blobs.iter().all(|name| !name.ends_with(".incomplete")));
    assert_eq!(names_in(&repo), [".no_exist", "blobs", "refs", "snapshots"]);
    assert!(
        repo.join(".no_exist")
            .join(COMMIT)
            .join("video_preprocessor_config.json")
            .is_file()
    );
}

#[test]
fn each_shard_is_fetched_once() {
    let (hub, cache) = (Hub::new(sharded()), tempdir().unwrap());
    let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();
    for (name, contents) in sharded()
        .iter()
        .filter(|(name, _)| name.starts_with("model"))
    {
        assert!(
            fs::read(snapshot.dir.join(name)).unwrap() == *contents,
            "{name}"
        );
    }
    let log = hub.take_log();
    let shards: Vec<_> = log
        .iter()
        .filter(|seen| seen.on_cdn)
        .map(Seen::file)
        .collect();
    assert_eq!(
        shards,
        [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors"
        ]
    );
}

#[test]
fn a_second_call_fetches_nothing() {
    for files in [single(), sharded()] {
        let (hub, cache) = (Hub::new(files), tempdir().unwrap());
        let first = download(REPO, &options(&hub, cache.path())).unwrap();
        hub.take_log();
        assert_eq!(download(REPO, &options(&hub, cache.path())).unwrap(), first);
        let log = hub.take_log();
        assert!(
            bodies(&log).is_empty() && log.iter().all(|seen| seen.file() == "config.json"),
            "{log:?}"
        );

        let pinned = HubOptions {
            revision: COMMIT.to_owned(),
            ..options(&hub, cache.path())
        };
        assert_eq!(download(REPO, &pinned).unwrap(), first);
        assert!(hub.take_log().is_empty());
    }
}

#[test]
fn a_new_commit_shares_the_blobs_that_did_not_change() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let first = download(REPO, &options(&hub, cache.path())).unwrap();
    hub.take_log();
    let commit = "f".repeat(40);
    hub.state().branch.1 = commit.clone();
    hub.state()
        .files
        .insert("config.json".to_owned(), b"another".to_vec());
    let second = download(REPO, &options(&hub, cache.path())).unwrap();
    assert_eq!(second.commit, commit);
    assert_eq!(
        fs::read(second.dir.join("config.json")).unwrap(),
        b"another"
    );
    assert_eq!(
        fs::read(first.dir.join("config.json")).unwrap(),
        b"contents of config.json"
    );
    let log = hub.take_log();
    assert!(
        bodies(&log).iter().all(|seen| seen.file() == "config.json"),
        "{log:?}"
    );
}

#[test]
fn a_branch_with_a_slash_is_one_revision() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().branch.0 = "refs/pr/1".to_owned();
    let wanted = HubOptions {
        revision: "refs/pr/1".to_owned(),
        ..options(&hub, cache.path())
    };
    assert_eq!(download(REPO, &wanted).unwrap().commit, COMMIT);
    let repo = cache.path().join("models--owner--Tiny-PLM");
    assert_eq!(
        fs::read_to_string(repo.join("refs/refs/pr/1")).unwrap(),
        COMMIT
    );
}

#[test]
fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().cut = Some(1_234_567);
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::Truncated {
                received: 1_234_567,
                expected: 3_000_000,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "`model.safetensors` of `owner/Tiny-PLM` was cut off after 1234567 of 3000000 bytes: \
         run again to fetch the rest"
    );
    hub.state().cut = None;
    hub.take_log();

    let first_report = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&first_report);
    let report = move |progress: &DownloadProgress| {
        seen.lock().unwrap().get_or_insert_with(|| progress.clone());
    };
    let resumed = HubOptions {
        progress: Some(Arc::new(report)),
        ..options(&hub, cache.path())
    };
    let snapshot = download(REPO, &resumed).unwrap();
    assert!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap() == single()["model.safetensors"]
    );
    assert_eq!(
        first_report.lock().unwrap().as_ref().unwrap().bytes,
        1_234_567
    );
    let log = hub.take_log();
    let asked: Vec<_> = log
        .iter()
        .filter(|seen| seen.on_cdn)
        .map(|seen| seen.header("range"))
        .collect();
    assert_eq!(asked, [Some("bytes=1234567-")]);
    assert_eq!(
        log.iter()
            .filter(|seen| seen.method == "GET" && !seen.on_cdn)
            .count(),
        1
    );
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().cut = Some(1000);
    download(REPO, &options(&hub, cache.path())).unwrap_err();
    hub.state().cut = None;
    hub.state().ignore_range = true;
    let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();
    assert!(
        fs::read(snapshot.dir.join("model.safetensors")).unwrap() == single()["model.safetensors"]
    );
}

#[test]
fn a_part_that_is_wrong_or_too_long_is_fetched_anew() {
    let contents = &single()["model.safetensors"];
    for part in [vec![7; 5000], weights(3_000_000, 9), weights(3_000_001, 0)] {
        let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
        let blobs = cache.path().join("models--owner--Tiny-PLM/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{}.incomplete", sha256(contents))), part).unwrap();
        let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();
        assert!(fs::read(snapshot.dir.join("model.safetensors")).unwrap() == *contents);
    }
}

#[test]
fn the_token_goes_to_the_hub_only() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().gated = true;
    hub.state().accepted = true;
    let options = HubOptions {
        token: Some(TOKEN.to_owned()),
        ..options(&hub, cache.path())
    };
    download(REPO, &options).unwrap();
    let log = hub.take_log();
    assert!(log.iter().any(|seen| seen.on_cdn));
    for seen in log {
        let expected = if seen.on_cdn {
            None
        } else {
            Some("Bearer hf_valid")
        };
        assert_eq!(seen.header("authorization"), expected, "{seen:?}");
    }
}

#[test]
fn progress_tells_file_place_and_bytes() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let reports = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&reports);
    let report = move |progress: &DownloadProgress| seen.lock().unwrap().push(progress.clone());
    let options = HubOptions {
        progress: Some(Arc::new(report)),
        ..options(&hub, cache.path())
    };
    download(REPO, &options).unwrap();

    let first_call = std::mem::take(&mut *reports.lock().unwrap());
    assert!(
        first_call
            .iter()
            .all(|report| report.num_files == 8 && report.bytes <= report.total_bytes.unwrap())
    );
    assert!(first_call.is_sorted_by_key(|report| (report.file_index, report.bytes)));
    let weights: Vec<_> = first_call
        .iter()
        .filter(|report| report.file == "model.safetensors")
        .collect();
    assert_eq!((weights[0].file_index, weights[0].bytes), (7, 0));
    assert!(weights.len() >= 4, "start, at least two on the way, end");
    assert_eq!(weights.last().unwrap().bytes, 3_000_000);

    download(REPO, &options).unwrap();
    assert!(reports.lock().unwrap().is_empty());
}

#[test]
fn callers_at_the_same_time_fetch_each_file_once() {
    let (hub, cache) = (Hub::new(sharded()), tempdir().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();
                for (name, contents) in sharded()
                    .iter()
                    .filter(|(name, _)| name.starts_with("model"))
                {
                    assert!(
                        fs::read(snapshot.dir.join(name)).unwrap() == *contents,
                        "{name}"
                    );
                }
            });
        }
    });
    assert_eq!(hub.take_log().iter().filter(|seen| seen.on_cdn).count(), 2);
}
