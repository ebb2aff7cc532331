//! What may become part of a path or of a URL.

use super::error::HubError;

/// The longest part of a repository id that the hub allows.
const MAX_ID_LEN: usize = 96;
/// The longest revision, file name, commit or entity tag that is accepted.
const MAX_NAME_LEN: usize = 255;

/// Checks `owner/name` (or a bare `name`) by the hub's own rules.
pub(super) fn check_repo_id(repo: &str) -> Result<(), HubError> {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
    };
    let valid = repo.len() <= MAX_ID_LEN
        && repo.split('/').count() <= 2
        && repo.split('/').all(part)
        // The cache folder joins the parts by `--`, and `..` must not name a parent.
        && !repo.contains("--")
        && !repo.contains("..")
        && !repo.ends_with(".git");
    if valid {
        Ok(())
    } else {
        Err(HubError::InvalidRepoId {
            repo: repo.to_owned(),
        })
    }
}

/// Checks that a branch, tag or commit can name a file below `refs/`.
pub(super) fn check_revision(revision: &str) -> Result<(), HubError> {
    if is_relative_path(revision) {
        Ok(())
    } else {
        Err(HubError::InvalidRevision {
            revision: revision.to_owned(),
        })
    }
}

/// Whether `revision` is a full commit, which never changes its meaning.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a name taken from an index is a weight file in the folder of the index.
///
/// [`Weights`](crate::Weights) reads shards from that folder alone.
pub(super) fn is_weight_file(name: &str) -> bool {
    is_relative_path(name) && !name.contains('/') && name.ends_with(".safetensors")
}

/// Whether a commit or entity tag that a server sent is one plain file name.
pub(super) fn is_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_LEN
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn is_relative_path(path: &str) -> bool {
    path.len() <= MAX_NAME_LEN
        // A backslash or a colon would be a separator or a drive on Windows.
        && !path.contains(['\\', ':'])
        && !path.contains(char::is_control)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// `text` with all but unreserved characters percent-encoded; slashes too unless `keep_slashes`.
pub(super) fn encode(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (keep_slashes && byte == b'/')
        {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_ids_follow_the_hub() {
        for good in ["facebook/Perception-LM-1B", "gpt2", "a/b.c_d-e"] {
            assert!(check_repo_id(good).is_ok(), "{good}");
        }
        let long = "a".repeat(97);
        for bad in [
            "", "/", "a/", "/a", "a/b/c", "a/../b", "../x", "a--b/c", "a b/c", "a/b.git", "-a/b",
            "./x", "a\\b", &long,
        ] {
            assert!(
                matches!(check_repo_id(bad), Err(HubError::InvalidRepoId { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn revisions_stay_below_refs() {
        for good in ["main", "refs/pr/1", "v1.0", "feature/x"] {
            assert!(check_revision(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/main",
            "main/",
            "../main",
            "a/../../b",
            "a//b",
            "a\\b",
            "c:x",
            "a\nb",
        ] {
            assert!(
                matches!(check_revision(bad), Err(HubError::InvalidRevision { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn weight_files_stand_beside_their_index() {
        assert!(is_weight_file("model-00001-of-00002.safetensors"));
        for bad in [
            "/a.safetensors",
            "part/a.safetensors",
            "../a.safetensors",
            "a/../../b.safetensors",
            "C:\\a.safetensors",
            "a.bin",
            "a.pkl",
        ] {
            assert!(!is_weight_file(bad), "{bad}");
        }
    }

    #[test]
    fn entity_tags_are_plain_names() {
        assert!(is_file_name("0a1b2c"));
        for bad in ["", ".", "..", "a/b", "a\\b", ".hidden", "a b"] {
            assert!(!is_file_name(bad), "{bad}");
        }
    }

    #[test]
    fn slashes_of_a_revision_are_encoded() {
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encode("a b/ü.json", true), "a%20b/%C3%BC.json");
    }
}
