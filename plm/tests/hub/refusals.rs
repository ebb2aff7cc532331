//! What goes wrong, and what the error says.

use std::net::TcpListener;

use plm::hub::{HubError, HubOptions, download};
use tempfile::tempdir;

use crate::server::{COMMIT, Hub, REPO, TOKEN};
use crate::{index, options, sharded, single, small_files};

#[test]
fn a_gated_repository_says_where_to_ask() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().gated = true;
    let page = format!("{}/{REPO}", hub.endpoint);

    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::Gated {
                token_sent: false,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        format!(
            "repository `owner/Tiny-PLM` is gated: accept its licence at {page} and set HF_TOKEN to a token of \
             that account (no token was sent)"
        )
    );
    let with_token = HubOptions {
        token: Some(TOKEN.to_owned()),
        ..options(&hub, cache.path())
    };
    let error = download(REPO, &with_token).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::Gated {
                token_sent: true,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .ends_with("(the token that was sent has no access)"),
        "{error}"
    );
}

#[test]
fn an_absent_repository_revision_and_file_are_told_apart() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let options = options(&hub, cache.path());
    for token in [None, Some(TOKEN.to_owned())] {
        let error = download(
            "owner/other",
            &HubOptions {
                token,
                ..options.clone()
            },
        )
        .unwrap_err();
        assert!(matches!(error, HubError::RepoNotFound { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "repository `owner/other` not found at {}: check its name; a private one also needs HF_TOKEN set \
                 to a token that may read it",
                hub.endpoint
            )
        );
    }
    for revision in ["v9", &"e".repeat(40)] {
        let error = download(
            REPO,
            &HubOptions {
                revision: revision.to_owned(),
                ..options.clone()
            },
        )
        .unwrap_err();
        assert!(
            matches!(error, HubError::RevisionNotFound { .. }),
            "{error:?}"
        );
        assert_eq!(
            error.to_string(),
            format!(
                "repository `owner/Tiny-PLM` has no revision `{revision}`: name one of its branches, tags or commits"
            )
        );
    }
    for (file, revision) in [("config.json", "main"), ("tokenizer.json", COMMIT)] {
        let contents = hub.state().files.remove(file).unwrap();
        let cache = tempdir().unwrap();
        let options = HubOptions {
            cache_dir: Some(cache.path().to_owned()),
            ..options.clone()
        };
        let error = download(REPO, &options).unwrap_err();
        assert!(matches!(error, HubError::MissingFile { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "repository `owner/Tiny-PLM` has no file `{file}` at revision `{revision}`: it is not a PerceptionLM \
                 checkpoint in Hugging Face layout"
            )
        );
        hub.state().files.insert(file.to_owned(), contents);
    }
}

#[test]
fn a_repository_without_weights_is_refused_before_anything_is_fetched() {
    let (hub, cache) = (Hub::new(small_files()), tempdir().unwrap());
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(error, HubError::MissingWeights { .. }),
        "{error:?}"
    );
    assert!(hub.take_log().iter().all(|seen| seen.method == "HEAD"));
}

#[test]
fn a_wrong_token_is_told_without_showing_it() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let options = HubOptions {
        token: Some("hf_wrong".to_owned()),
        ..options(&hub, cache.path())
    };
    let error = download(REPO, &options).unwrap_err();
    assert!(matches!(error, HubError::Unauthorized { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "the token was not accepted by {}: set HF_TOKEN to a valid one, or unset it for a public repository",
            hub.endpoint
        )
    );
    assert!(!format!("{error:?}").contains("hf_wrong"));
}

#[test]
fn an_index_that_names_a_missing_shard_is_refused_before_any_weight_is_fetched() {
    let (hub, cache) = (Hub::new(sharded()), tempdir().unwrap());
    hub.state().files.remove("model-00002-of-00002.safetensors");
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(&error, HubError::MissingShard { shard, .. } if shard == "model-00002-of-00002.safetensors")
    );
    assert!(
        error
            .to_string()
            .contains("`model-00002-of-00002.safetensors` at revision"),
        "{error}"
    );
    assert!(hub.take_log().iter().all(|seen| !seen.on_cdn));
}

#[test]
fn an_index_cannot_reach_outside_the_repository() {
    for name in [
        "../../../evil.safetensors",
        "/tmp/evil.safetensors",
        "a/../../evil.safetensors",
        "part/evil.safetensors",
        "evil.sh",
    ] {
        let (hub, cache) = (Hub::new(small_files()), tempdir().unwrap());
        hub.state()
            .files
            .insert("model.safetensors.index.json".to_owned(), index(&[name]));
        let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "the shard index of repository `owner/Tiny-PLM` names `{name}`, which is refused: shards are \
                 .safetensors files beside the index"
            )
        );
        assert!(
            hub.take_log()
                .iter()
                .all(|seen| !seen.path.contains("evil"))
        );
    }
}

#[test]
fn damaged_contents_do_not_become_a_checkpoint() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().damage = true;
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(matches!(error, HubError::Corrupt { .. }), "{error:?}");
    let repo = cache.path().join("models--owner--Tiny-PLM");
    assert!(
        !repo
            .join("snapshots")
            .join(COMMIT)
            .join("model.safetensors")
            .exists()
    );
    assert!(!repo.join("refs").exists());
    hub.state().damage = false;
    download(REPO, &options(&hub, cache.path())).unwrap();
}

#[test]
fn a_small_file_that_is_not_its_git_object_is_refused() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().damage_small = true;
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(&error, HubError::Corrupt { file, .. } if file == "config.json"),
        "{error:?}"
    );
    hub.state().damage_small = false;
    let snapshot = download(REPO, &options(&hub, cache.path())).unwrap();
    assert_eq!(
        std::fs::read(snapshot.dir.join("config.json")).unwrap(),
        single()["config.json"]
    );
}

#[test]
fn a_size_other_than_announced_is_an_error() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().lie = 5;
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert!(
        matches!(
            error,
            HubError::SizeMismatch {
                received: 3_000_000,
                expected: 3_000_005,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn ids_that_are_no_ids_are_refused_without_a_connection() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    let error = download("../models/plm", &options(&hub, cache.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`../models/plm` is neither a folder nor a repository id: write the id as owner/name, such as \
         facebook/Perception-LM-1B"
    );
    let options = HubOptions {
        revision: "../../x".to_owned(),
        ..options(&hub, cache.path())
    };
    assert!(matches!(
        download(REPO, &options),
        Err(HubError::InvalidRevision { .. })
    ));
    assert!(hub.take_log().is_empty());
}

#[test]
fn other_statuses_are_passed_on() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    for status in [418, 500] {
        hub.state().broken = Some(status);
        let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}/{REPO}/resolve/main/config.json answered with status {status}",
                hub.endpoint
            )
        );
    }
}

#[test]
fn too_many_requests_and_a_refused_link_say_what_to_do() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().broken = Some(429);
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}/{REPO}/resolve/main/config.json is not served for now, for there were too many requests (status 429): \
             run again in a few minutes, or set HF_TOKEN, as accounts have a higher limit",
            hub.endpoint
        )
    );
    hub.state().broken = None;
    hub.state().broken_cdn = Some(403);
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with(
            "/blob/model.safetensors is refused by the host that the hub redirects to (status 403): run again for a \
             fresh link, and check that no proxy or firewall blocks that host"
        ),
        "{text}"
    );
}

#[test]
fn a_hub_that_moved_names_its_new_address() {
    let (hub, cache) = (Hub::new(single()), tempdir().unwrap());
    hub.state().moved_to = Some("https://hub.example/x?signature=secret".to_owned());
    let error = download(REPO, &options(&hub, cache.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}/{REPO}/resolve/main/config.json does not answer like a hub: it redirects to https://hub.example/x \
             without an ETag, set HF_ENDPOINT to the address of the hub itself",
            hub.endpoint
        )
    );
}

#[test]
fn an_endpoint_with_a_password_is_refused_without_showing_it() {
    let cache = tempdir().unwrap();
    for endpoint in [
        "https://user:SECRETPW@hub.example",
        "https://user:SECRET/PW@hub.example",
        "user:SECRETPW@hub.example",
    ] {
        let options = HubOptions {
            cache_dir: Some(cache.path().to_owned()),
            endpoint: Some(endpoint.to_owned()),
            ..HubOptions::default()
        };
        assert!(!format!("{options:?}").contains("SECRET"));
        let error = download(REPO, &options).unwrap_err();
        assert!(
            matches!(error, HubError::InvalidEndpoint { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("...@hub.example`"), "{error}");
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
    }
}

#[test]
fn a_port_that_is_none_is_refused() {
    let cache = tempdir().unwrap();
    for port in ["99999", "65536", ""] {
        let options = HubOptions {
            cache_dir: Some(cache.path().to_owned()),
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            ..HubOptions::default()
        };
        let error = download(REPO, &options).unwrap_err();
        assert!(
            matches!(error, HubError::InvalidEndpoint { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_hub_that_is_not_there_is_a_network_error() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let cache = tempdir().unwrap();
    let options = HubOptions {
        cache_dir: Some(cache.path().to_owned()),
        endpoint: Some(format!("http://127.0.0.1:{port}")),
        ..HubOptions::default()
    };
    let error = download(REPO, &options).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error:?}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (hub, dir) = (Hub::new(single()), tempdir().unwrap());
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = download(REPO, &options(&hub, &file)).unwrap_err();
    assert!(
        matches!(&error, HubError::Io { path, .. } if path.starts_with(&file)),
        "{error:?}"
    );
}
