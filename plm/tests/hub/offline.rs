//! The cache on its own.

use std::fs;

use plm::hub::{HubError, HubOptions, download};
use tempfile::tempdir;

use crate::server::{COMMIT, Hub, REPO};
use crate::{options, sharded, single};

#[test]
fn offline_uses_the_cache_and_makes_no_connection() {
    for files in [single(), sharded()] {
        let (hub, cache) = (Hub::new(files), tempdir().unwrap());
        let offline = HubOptions {
            offline: true,
            ..options(&hub, cache.path())
        };
        let error = download(REPO, &offline).unwrap_err();
        assert!(matches!(error, HubError::NotCached { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "`config.json` of `owner/Tiny-PLM` (revision `main`) is not in the cache `{}` and offline mode is \
                 on: fetch it once with the network, or unset HF_HUB_OFFLINE",
                cache.path().display()
            )
        );
        assert!(hub.take_log().is_empty());

        let online = download(REPO, &options(&hub, cache.path())).unwrap();
        hub.take_log();
        assert_eq!(download(REPO, &offline).unwrap(), online);
        let pinned = HubOptions {
            revision: COMMIT.to_owned(),
            ..offline
        };
        assert_eq!(download(REPO, &pinned).unwrap(), online);
        assert!(hub.take_log().is_empty());
    }
}

#[test]
fn offline_names_the_shard_that_is_not_cached() {
    let (hub, cache) = (Hub::new(sharded()), tempdir().unwrap());
    let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();
    fs::remove_file(snapshot.dir.join("model-00002-of-00002.safetensors")).unwrap();
    let offline = HubOptions {
        offline: true,
        ..options(&hub, cache.path())
    };
    let error = download(REPO, &offline).unwrap_err();
    assert!(
        matches!(&error, HubError::NotCached { file, .. } if file == "model-00002-of-00002.safetensors")
    );
}

#[test]
fn a_cache_that_python_filled_is_used() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let repo = cache.path().join("models--owner--Tiny-PLM");
    let snapshot = repo.join("snapshots").join(COMMIT);
    for dir in ["refs", "blobs", ".no_exist"] {
        fs::create_dir_all(repo.join(dir)).unwrap();
    }
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    for file in [
        "config.json",
        "tokenizer.json",
        "processor_config.json",
        "model.safetensors",
    ] {
        fs::write(repo.join("blobs").join(format!("of-{file}")), file).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/of-{file}"), snapshot.join(file)).unwrap();
        #[cfg(not(unix))]
        fs::write(snapshot.join(file), file).unwrap();
    }
    let offline = HubOptions {
        offline: true,
        ..options(&hub, cache.path())
    };
    assert_eq!(download(REPO, &offline).unwrap().dir, snapshot);

    // Online, only what Python did not ask for is added.
    assert_eq!(
        download(REPO, &options(&hub, cache.path())).unwrap().dir,
        snapshot
    );
    assert_eq!(
        fs::read_to_string(snapshot.join("model.safetensors")).unwrap(),
        "model.safetensors"
    );
    assert!(snapshot.join("chat_template.jinja").is_file());
    assert!(hub.take_log().iter().all(|seen| !seen.on_cdn));
}

#[test]
fn an_outage_falls_back_to_the_last_complete_snapshot() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let online = download(REPO, &options(&hub, cache.path())).unwrap();
    hub.state().broken = Some(503);
    assert_eq!(
        download(REPO, &options(&hub, cache.path())).unwrap(),
        online
    );
    hub.state().broken = None;

    // An update that breaks off is an error, and does not spoil the older snapshot.
    hub.state().branch.1 = "f".repeat(40);
    hub.state()
        .files
        .insert("model.safetensors".to_owned(), vec![3; 1000]);
    hub.state().cut = Some(10);
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(matches!(error, HubError::Truncated { .. }), "{error:?}");
    let offline = HubOptions {
        offline: true,
        ..options(&hub, cache.path())
    };
    assert_eq!(download(REPO, &offline).unwrap(), online);
}

#[test]
fn an_outage_does_not_matter_where_the_commit_is_cached() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let online = options(&hub, cache.path());
    let pinned = HubOptions {
        revision: COMMIT.to_owned(),
        ..online
    };
    let snapshot = download(REPO, &pinned).unwrap();
    // As Python leaves a cache: nothing is known of files that were not asked for.
    let repo = cache.path().join("models--owner--Tiny-PLM");
    let _ = fs::remove_dir_all(repo.join(".no_exist"));
    drop(hub);
    assert_eq!(download(REPO, &pinned).unwrap(), snapshot);
}

#[test]
fn notes_that_the_cache_does_not_take_do_no_harm() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let repo = cache.path().join("models--owner--Tiny-PLM");
    fs::create_dir_all(&repo).unwrap();
    for folder in [".no_exist", "refs"] {
        fs::write(repo.join(folder), "no folder").unwrap();
    }
    download(REPO, &options(&hub, cache.path())).unwrap();
}
