//! What can go wrong between the hub and the cache.

use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The repository is gated and the account has no access, or no token was sent.
    #[error(
        "repository `{repo}` is gated: accept its licence at {url} and set HF_TOKEN to a token of that account{}",
        if *token_sent { " (the token that was sent has no access)" } else { " (no token was sent)" }
    )]
    Gated {
        /// The repository asked for.
        repo: String,
        /// The page where access is asked for.
        url: String,
        /// Whether a token went with the request.
        token_sent: bool,
    },

    /// The hub has no such repository, or does not show it to this account.
    #[error(
        "repository `{repo}` not found at {endpoint}: check its name; a private one also needs HF_TOKEN set to a token that may read it"
    )]
    RepoNotFound {
        /// The repository asked for.
        repo: String,
        /// The hub that was asked.
        endpoint: String,
    },

    /// The repository has no such branch, tag or commit.
    #[error(
        "repository `{repo}` has no revision `{revision}`: name one of its branches, tags or commits"
    )]
    RevisionNotFound {
        /// The repository asked for.
        repo: String,
        /// The revision asked for.
        revision: String,
    },

    /// The repository lacks a file that every checkpoint needs.
    #[error(
        "repository `{repo}` has no file `{file}` at revision `{revision}`: it is not a PerceptionLM checkpoint in Hugging Face layout"
    )]
    MissingFile {
        /// The repository asked for.
        repo: String,
        /// The revision or commit asked for.
        revision: String,
        /// The file that is missing.
        file: String,
    },

    /// The repository has weights neither in one file nor in shards.
    #[error(
        "repository `{repo}` has neither `model.safetensors` nor `model.safetensors.index.json` at revision `{revision}`: only safetensors weights are read"
    )]
    MissingWeights {
        /// The repository asked for.
        repo: String,
        /// The commit asked for.
        revision: String,
    },

    /// The repository lacks a shard that its own index names.
    #[error(
        "repository `{repo}` has no file `{shard}` at revision `{revision}`, although its `model.safetensors.index.json` names it: the upload is incomplete, choose another revision"
    )]
    MissingShard {
        /// The repository asked for.
        repo: String,
        /// The commit asked for.
        revision: String,
        /// The shard that is missing.
        shard: String,
    },

    /// The hub does not accept the token.
    #[error(
        "the token was not accepted by {endpoint}: set HF_TOKEN to a valid one, or unset it for a public repository"
    )]
    Unauthorized {
        /// The hub that was asked.
        endpoint: String,
    },

    /// The token cannot be a token.
    #[error(
        "the token has a character that cannot be sent: set HF_TOKEN to the plain token, without spaces or line breaks"
    )]
    InvalidToken,

    /// The cache lacks a file and no connection may be made.
    #[error(
        "`{file}` of `{repo}` (revision `{revision}`) is not in the cache `{}` and offline mode is on: fetch it once with the network, or unset HF_HUB_OFFLINE",
        cache_dir.display()
    )]
    NotCached {
        /// The repository asked for.
        repo: String,
        /// The revision asked for.
        revision: String,
        /// The first file that is missing.
        file: String,
        /// The cache that was searched.
        cache_dir: PathBuf,
    },

    /// The repository id is not one.
    #[error(
        "`{repo}` is neither a folder nor a repository id: write the id as owner/name, such as facebook/Perception-LM-1B"
    )]
    InvalidRepoId {
        /// What was given.
        repo: String,
    },

    /// The revision is not a possible name.
    #[error("`{}` is not a revision: name a branch, a tag or a commit", revision.escape_debug())]
    InvalidRevision {
        /// What was given.
        revision: String,
    },

    /// The endpoint is not a web address, or holds a password.
    #[error(
        "`{endpoint}` is not a hub address: set HF_ENDPOINT to one such as https://huggingface.co"
    )]
    InvalidEndpoint {
        /// What was given, with dots in the place of user and password.
        endpoint: String,
    },

    /// There is no place for the cache.
    #[error("no cache folder is known: set HF_HOME or HF_HUB_CACHE")]
    NoCacheDir,

    /// The shard index is not one.
    #[error("`{}` of repository `{repo}` is not a shard index", path.display())]
    InvalidIndex {
        /// The repository asked for.
        repo: String,
        /// The index in the cache.
        path: PathBuf,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },

    /// The shard index names no file.
    #[error("`{}` of repository `{repo}` names no weight file", path.display())]
    EmptyIndex {
        /// The repository asked for.
        repo: String,
        /// The index in the cache.
        path: PathBuf,
    },

    /// The shard index names something that is not a weight file in the folder of the index.
    #[error(
        "the shard index of repository `{repo}` names `{}`, which is refused: shards are .safetensors files beside the index",
        name.escape_debug()
    )]
    UnsafeShardName {
        /// The repository asked for.
        repo: String,
        /// The name in the index.
        name: String,
    },

    /// The connection ended before the whole file had arrived; the part is kept.
    #[error(
        "`{file}` of `{repo}` was cut off after {received} of {expected} bytes: run again to fetch the rest"
    )]
    Truncated {
        /// The repository asked for.
        repo: String,
        /// The file that was being fetched.
        file: String,
        /// The bytes that are there now.
        received: u64,
        /// The bytes of the whole file.
        expected: u64,
    },

    /// The server sends another number of bytes than it announced.
    #[error(
        "`{file}` of `{repo}` has {received} bytes where the hub announced {expected}: try again later"
    )]
    SizeMismatch {
        /// The repository asked for.
        repo: String,
        /// The file that was being fetched.
        file: String,
        /// The bytes that were sent.
        received: u64,
        /// The bytes that were announced.
        expected: u64,
    },

    /// The contents are not those that the hub's checksum describes; they were thrown away.
    #[error(
        "`{file}` of `{repo}` arrived damaged (its checksum is not `{expected}`): run again to fetch it anew"
    )]
    Corrupt {
        /// The repository asked for.
        repo: String,
        /// The file that was being fetched.
        file: String,
        /// The checksum that the hub announced.
        expected: String,
    },

    /// The disk of the cache is full; the part that arrived is kept.
    #[error("no space left to write `{}`: free some, or set HF_HUB_CACHE to a folder on another disk", path.display())]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// A file or folder of the cache could not be used.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried: `read`, `write`, `lock` and so on.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },

    /// The server takes no more requests from this address or account for a while.
    #[error(
        "{url} is not served for now, for there were too many requests (status 429): run again in a few minutes, or set HF_TOKEN, as accounts have a higher limit"
    )]
    RateLimited {
        /// The address asked, without its query.
        url: String,
    },

    /// The host of the contents, to which the hub redirects, refuses to send them.
    #[error(
        "{url} is refused by the host that the hub redirects to (status 403): run again for a fresh link, and check that no proxy or firewall blocks that host"
    )]
    LinkRefused {
        /// The address asked, without its query.
        url: String,
    },

    /// The server answered with an error that has no variant of its own.
    #[error("{url} answered with status {status}{}{message}", if message.is_empty() { "" } else { ": " })]
    Http {
        /// The HTTP status.
        status: u16,
        /// The address asked, without its query.
        url: String,
        /// The hub's own message, where it sent one.
        message: String,
    },

    /// The server's answer is not that of a hub.
    #[error("{url} does not answer like a hub: {reason}")]
    BadResponse {
        /// The address asked, without its query.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },

    /// The server was not reached, or the connection broke; what had arrived is kept.
    #[error("cannot fetch {url}: check the connection and HF_ENDPOINT, then run again")]
    Network {
        /// The address asked, without its query.
        url: String,
        /// What the connection said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl HubError {
    /// An error of the file system at `path`; a full disk gets its own variant.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Whether the hub is out of reach, so that the cache may stand in for it.
    pub(super) fn is_outage(&self) -> bool {
        match self {
            Self::Network { .. } => true,
            Self::Http { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_where_and_what_to_do() {
        let error = HubError::io(
            "write",
            Path::new("blobs/a"),
            io::ErrorKind::StorageFull.into(),
        );
        assert_eq!(
            error.to_string(),
            "no space left to write `blobs/a`: free some, or set HF_HUB_CACHE to a folder on another disk"
        );
        let error = HubError::io(
            "lock",
            Path::new("a.lock"),
            io::ErrorKind::PermissionDenied.into(),
        );
        assert_eq!(error.to_string(), "cannot lock `a.lock`");
    }

    #[test]
    fn only_an_unreachable_hub_is_an_outage() {
        let http = |status| HubError::Http {
            status,
            url: String::new(),
            message: String::new(),
        };
        assert!(http(503).is_outage());
        assert!(!http(429).is_outage());
        assert!(!HubError::InvalidToken.is_outage());
    }
}
