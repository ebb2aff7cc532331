//! What is fetched when the weights are not wanted.

use std::fs;

use plm::hub::{HubError, HubOptions, download, download_config};
use tempfile::tempdir;

use crate::server::{COMMIT, Hub, REPO, Seen};
use crate::{options, sharded, single, small_files};

fn is_weights(seen: &Seen) -> bool {
    seen.on_cdn || seen.file().starts_with("model.safetensors")
}

#[test]
fn no_weights_are_asked_for_until_they_are_wanted() {
    for files in [single(), sharded()] {
        let (hub, cache) = (Hub::new(files.clone()), tempdir().unwrap());
        let config = download_config(REPO, &options(&hub, cache.path())).unwrap();
        assert_eq!(config.commit, COMMIT);
        let log = hub.take_log();
        assert!(!log.is_empty() && !log.iter().any(is_weights), "{log:?}");
        for name in [
            "config.json",
            "processor_config.json",
            "tokenizer.json",
            "chat_template.jinja",
        ] {
            assert_eq!(fs::read(config.dir.join(name)).unwrap(), files[name]);
        }

        let whole = download(REPO, &options(&hub, cache.path())).unwrap();
        assert_eq!(whole, config);
        let weights = |name: &&String| !name.contains('/') && name.ends_with(".safetensors");
        for name in files.keys().filter(weights) {
            assert!(fs::read(whole.dir.join(name)).unwrap() == files[name]);
        }
        let log = hub.take_log();
        let again = ["tokenizer.json", "processor_config.json"];
        assert!(!log.iter().any(|seen| again.contains(&seen.file())));
    }
}

#[test]
fn a_repository_without_weights_has_a_config() {
    let (hub, cache) = (Hub::new(small_files()), tempdir().unwrap());
    download_config(REPO, &options(&hub, cache.path())).unwrap();
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(error, HubError::MissingWeights { .. }),
        "{error:?}"
    );
}

#[test]
fn offline_a_config_serves_without_weights() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let offline = HubOptions {
        offline: true,
        ..options(&hub, cache.path())
    };
    let error = download_config(REPO, &offline).unwrap_err();
    assert!(matches!(error, HubError::NotCached { .. }), "{error:?}");
    let online = download_config(REPO, &options(&hub, cache.path())).unwrap();
    hub.take_log();
    assert_eq!(download_config(REPO, &offline).unwrap(), online);
    let error = download(REPO, &offline).unwrap_err();
    assert!(
        matches!(&error, HubError::NotCached { file, .. } if file == "model.safetensors"),
        "{error:?}"
    );
    assert!(hub.take_log().is_empty());
}

#[test]
fn a_newer_config_leaves_the_complete_snapshot_to_offline_use() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let whole = download(REPO, &options(&hub, cache.path())).unwrap();
    let commit = "f".repeat(40);
    hub.state().branch.1 = commit.clone();
    let newer = download_config(REPO, &options(&hub, cache.path())).unwrap();
    assert_eq!(newer.commit, commit);
    let offline = HubOptions {
        offline: true,
        ..options(&hub, cache.path())
    };
    assert_eq!(download(REPO, &offline).unwrap(), whole);
    let updated = download(REPO, &options(&hub, cache.path())).unwrap();
    assert_eq!(updated, newer);
    assert_eq!(download(REPO, &offline).unwrap(), newer);
}

#[test]
fn each_required_file_is_named_when_it_is_missing() {
    for (file, required) in [
        ("config.json", true),
        ("tokenizer.json", true),
        ("processor_config.json", true),
        ("tokenizer_config.json", false),
        ("generation_config.json", false),
    ] {
        let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
        hub.state().files.remove(file);
        let fetched = download_config(REPO, &options(&hub, cache.path()));
        match fetched {
            Err(HubError::MissingFile { file: missing, .. }) => {
                assert!(required && missing == file, "{file}: {missing}");
            }
            other => assert!(other.is_ok() && !required, "{file}: {other:?}"),
        }
    }
}
