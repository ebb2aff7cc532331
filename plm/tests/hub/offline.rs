//! The cache on its own.

use std::fs;
use std::path::{Path, PathBuf};

use plm::hub::{HubError, HubOptions, download, download_config};
use tempfile::tempdir;

use crate::log::Warnings;
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

/// Puts what a checkpoint needs into the cache, without a word about files that do not exist.
pub(crate) fn fill_as_python(cache: &Path) -> PathBuf {
    let repo = cache.join("models--owner--Tiny-PLM");
    let snapshot = repo.join("snapshots").join(COMMIT);
    for dir in ["refs", "blobs"] {
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
    snapshot
}

#[test]
fn a_cache_that_python_filled_is_used() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let snapshot = fill_as_python(cache.path());
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
fn an_outage_leaves_a_commit_in_the_cache_usable() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let snapshot = fill_as_python(cache.path());
    let pinned = HubOptions {
        revision: COMMIT.to_owned(),
        ..options(&hub, cache.path())
    };
    for status in [500, 503] {
        hub.state().broken = Some(status);
        assert_eq!(download(REPO, &pinned).unwrap().dir, snapshot);
        assert_eq!(download_config(REPO, &pinned).unwrap().dir, snapshot);
    }
    let nobody = HubOptions {
        endpoint: Some("http://127.0.0.1:9".to_owned()),
        ..pinned.clone()
    };
    assert_eq!(download(REPO, &nobody).unwrap().dir, snapshot);

    fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    let error = download(REPO, &pinned).unwrap_err();
    assert!(
        matches!(error, HubError::Http { status: 503, .. }),
        "{error:?}"
    );
}

#[test]
fn an_outage_of_one_optional_file_leaves_the_cached_commit_usable() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let snapshot = fill_as_python(cache.path());
    hub.state().broken_file = Some(("special_tokens_map.json", 503));
    let log = Warnings::default();
    let found = log.of(|| download(REPO, &options(&hub, cache.path())));
    assert_eq!(found.unwrap().dir, snapshot);
    assert!(log.contain("the cached snapshot is used"));

    // A commit that is not in the cache needs the hub.
    hub.state().branch.1 = "f".repeat(40);
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(error, HubError::Http { status: 503, .. }),
        "{error:?}"
    );
}
