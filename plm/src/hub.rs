//! Fetching a PerceptionLM checkpoint from a Hugging Face hub.
//!
//! [`download`] brings the files that a checkpoint needs into the hub's own cache layout, the one
//! that Python's `huggingface_hub` uses, and returns the snapshot folder. Each side uses what the
//! other has fetched. [`download_config`] leaves the weights out.
//!
//! ```text
//! <cache>/models--owner--name/blobs/<etag>                     contents, or <etag>.incomplete
//! <cache>/models--owner--name/snapshots/<commit>/config.json   -> ../../blobs/<etag>
//! <cache>/models--owner--name/refs/main                        the commit that `main` was
//! <cache>/models--owner--name/.no_exist/<commit>/<file>        known not to exist there
//! <cache>/.locks/models--owner--name/<etag>.lock               held while a blob is fetched
//! ```
//!
//! Nothing here follows what the server says onto the file system unchecked: shard names, entity
//! tags and commits are validated before they become paths, and the token goes to the endpoint
//! only, never to a host that the endpoint redirects to.

mod address;
mod answer;
mod blob;
mod cache;
mod checksum;
mod client;
mod error;
mod files;
mod names;
mod options;

use std::path::PathBuf;

use self::answer::RemoteFile;
use self::cache::RepoCache;
use self::client::{Client, Head};
pub use self::error::HubError;
pub use self::options::{DownloadProgress, HubOptions, ProgressFn};

/// A checkpoint folder in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The folder that holds the checkpoint's files under their own names.
    pub dir: PathBuf,
    /// The commit of the repository that the folder holds.
    pub commit: String,
}

/// Fetches what a PerceptionLM checkpoint needs from `repo_id` and returns its folder.
///
/// That is the configuration of model and processor, the tokenizer, the optional configuration files
/// and chat template, and the weights, in one file or in shards; other files of the repository are left alone. What the
/// cache already has is not fetched again, a download that was cut short goes on where it
/// stopped, and all weight files are known to exist before the first of them is fetched. Several
/// processes may fetch the same repository at once.
///
/// When the hub cannot be reached before anything is fetched, the snapshot that the cache has of the
/// revision is returned, with a warning in the log, if only optional files are missing. With
/// [`HubOptions::offline`] no connection is made at all.
///
/// # Errors
/// [`HubError::Gated`], [`HubError::RepoNotFound`], [`HubError::RevisionNotFound`],
/// [`HubError::MissingFile`], [`HubError::Unauthorized`] and [`HubError::NotCached`] tell the usual
/// causes apart; the other variants of [`HubError`] cover the network, the disk and a server that
/// does not answer like a hub.
pub fn download(repo_id: &str, options: &HubOptions) -> Result<Snapshot, HubError> {
    bring(repo_id, options, Scope::Whole)
}

/// Fetches what [`Checkpoint::from_dir`](crate::Checkpoint::from_dir) reads and returns its folder.
///
/// That is what [`download`] fetches without the weights, which are neither asked for nor needed in
/// the cache. A later [`download`] fetches them. Where the cache has a complete snapshot of the
/// revision, offline use keeps it, even if the revision has moved on since.
///
/// # Errors
/// As [`download`], for everything but the weights.
pub fn download_config(repo_id: &str, options: &HubOptions) -> Result<Snapshot, HubError> {
    bring(repo_id, options, Scope::WithoutWeights)
}

/// How much of a checkpoint is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Whole,
    WithoutWeights,
}

fn bring(repo_id: &str, options: &HubOptions, scope: Scope) -> Result<Snapshot, HubError> {
    names::check_repo_id(repo_id)?;
    names::check_revision(&options.revision)?;
    let cache = RepoCache::new(&options.cache_dir_or_default()?, repo_id);
    if options.offline {
        return cached(repo_id, &cache, options, scope);
    }
    let client = Client::new(repo_id, options)?;
    match current_commit(&client, &options.revision) {
        Ok(commit) => Fetch {
            repo_id,
            client: &client,
            cache: &cache,
            commit,
            options,
            scope,
        }
        .run(),
        Err(error) => instead_of(error, || cached(repo_id, &cache, options, scope)),
    }
}

/// The snapshot that the cache has, if the error is an outage; the error otherwise.
fn instead_of(
    error: HubError,
    cached: impl FnOnce() -> Result<Snapshot, HubError>,
) -> Result<Snapshot, HubError> {
    if !error.is_outage() {
        return Err(error);
    }
    let Ok(snapshot) = cached() else {
        return Err(error);
    };
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        commit = snapshot.commit,
        "hub not reached, the cached snapshot is used"
    );
    Ok(snapshot)
}

/// Passes over a note in the cache that could not be written, as in a cache that is shared and
/// read-only; only offline use would miss it.
fn note_failed(written: Result<(), HubError>) {
    if let Err(error) = written {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the cache does not take a note"
        );
    }
}

/// The commit that `revision` stands for; asks the hub unless the revision is a commit itself.
fn current_commit(client: &Client, revision: &str) -> Result<String, HubError> {
    if names::is_commit(revision) {
        return Ok(revision.to_owned());
    }
    match client.head(revision, files::CONFIG)? {
        Head::Found(file) => file.commit.ok_or_else(|| {
            client.bad_response(
                revision,
                files::CONFIG,
                "the X-Repo-Commit header is missing",
            )
        }),
        Head::Absent { known_repo: true } => Err(HubError::MissingFile {
            repo: client.repo().to_owned(),
            revision: revision.to_owned(),
            file: files::CONFIG.to_owned(),
        }),
        Head::Absent { known_repo: false } => Err(client.repo_not_found()),
    }
}

/// The snapshot as the cache has it, without any connection.
fn cached(
    repo_id: &str,
    cache: &RepoCache,
    options: &HubOptions,
    scope: Scope,
) -> Result<Snapshot, HubError> {
    let commit = if names::is_commit(&options.revision) {
        options.revision.clone()
    } else {
        cache
            .read_ref(&options.revision)?
            .ok_or_else(|| not_cached(repo_id, cache, options, files::CONFIG))?
    };
    cached_commit(repo_id, cache, options, scope, commit)
}

/// The snapshot of `commit` as the cache has it.
fn cached_commit(
    repo_id: &str,
    cache: &RepoCache,
    options: &HubOptions,
    scope: Scope,
    commit: String,
) -> Result<Snapshot, HubError> {
    let need = |file: &str| {
        if cache.has(&commit, file) {
            Ok(())
        } else {
            Err(not_cached(repo_id, cache, options, file))
        }
    };
    files::REQUIRED.into_iter().try_for_each(need)?;
    if scope == Scope::Whole && !cache.has(&commit, files::WEIGHTS) {
        if !cache.has(&commit, files::INDEX) {
            return Err(not_cached(repo_id, cache, options, files::WEIGHTS));
        }
        for shard in files::shards(repo_id, &cache.pointer(&commit, files::INDEX))? {
            need(&shard)?;
        }
    }
    Ok(Snapshot {
        dir: cache.snapshot(&commit),
        commit,
    })
}

fn not_cached(repo_id: &str, cache: &RepoCache, options: &HubOptions, file: &str) -> HubError {
    HubError::NotCached {
        repo: repo_id.to_owned(),
        revision: options.revision.clone(),
        file: file.to_owned(),
        cache_dir: cache.root().to_owned(),
    }
}

/// One fetch whose commit is known.
struct Fetch<'a> {
    repo_id: &'a str,
    client: &'a Client,
    cache: &'a RepoCache,
    commit: String,
    options: &'a HubOptions,
    scope: Scope,
}

/// Where one file of the commit is.
enum Place {
    Cached,
    Remote(RemoteFile),
    Absent,
}

impl Fetch<'_> {
    fn run(self) -> Result<Snapshot, HubError> {
        let wanted = match self.wanted() {
            Ok(wanted) => wanted,
            // Only the same commit will do: the hub was there to say which one it is.
            Err(error) => {
                return instead_of(error, || {
                    let commit = self.commit.clone();
                    cached_commit(self.repo_id, self.cache, self.options, self.scope, commit)
                });
            }
        };
        let num_files = wanted.len();
        for (file_index, (file, remote)) in wanted.iter().enumerate() {
            let report = |bytes, total_bytes| {
                if let Some(progress) = &self.options.progress {
                    progress(&DownloadProgress {
                        file: file.clone(),
                        file_index,
                        num_files,
                        bytes,
                        total_bytes,
                    });
                }
            };
            blob::fetch(self.client, self.cache, &self.commit, file, remote, &report)?;
        }
        // Last, so that an interrupted update leaves offline use with the last complete snapshot.
        if !names::is_commit(&self.options.revision) && !self.spares_complete_snapshot() {
            note_failed(self.cache.write_ref(&self.options.revision, &self.commit));
        }
        Ok(Snapshot {
            dir: self.cache.snapshot(&self.commit),
            commit: self.commit,
        })
    }

    /// The files that are not cached.
    fn wanted(&self) -> Result<Vec<(String, RemoteFile)>, HubError> {
        let mut wanted = Vec::new();
        for file in files::REQUIRED {
            if !self.want(file, &mut wanted)? {
                return Err(self.missing(file));
            }
        }
        for file in files::OPTIONAL {
            self.want(file, &mut wanted)?;
        }
        if self.scope == Scope::Whole && !self.want(files::WEIGHTS, &mut wanted)? {
            self.want_shards(&mut wanted)?;
        }
        Ok(wanted)
    }

    /// Whether the cache has weights for the revision that offline use would lose if the revision
    /// now stood for this fetch.
    fn spares_complete_snapshot(&self) -> bool {
        self.scope == Scope::WithoutWeights
            && cached(self.repo_id, self.cache, self.options, Scope::Whole).is_ok()
    }

    /// Adds `file` to `wanted` unless it is cached; false if the commit does not have it.
    fn want(&self, file: &str, wanted: &mut Vec<(String, RemoteFile)>) -> Result<bool, HubError> {
        match self.place(file)? {
            Place::Cached => Ok(true),
            Place::Absent => Ok(false),
            Place::Remote(remote) => {
                wanted.push((file.to_owned(), remote));
                Ok(true)
            }
        }
    }

    fn want_shards(&self, wanted: &mut Vec<(String, RemoteFile)>) -> Result<(), HubError> {
        match self.place(files::INDEX)? {
            Place::Cached => {}
            Place::Absent => {
                return Err(HubError::MissingWeights {
                    repo: self.repo_id.to_owned(),
                    revision: self.commit.clone(),
                });
            }
            // Fetched at once and unreported, for it decides how many files there are.
            Place::Remote(remote) => {
                blob::fetch(
                    self.client,
                    self.cache,
                    &self.commit,
                    files::INDEX,
                    &remote,
                    &|_, _| {},
                )?;
            }
        }
        for shard in files::shards(
            self.repo_id,
            &self.cache.pointer(&self.commit, files::INDEX),
        )? {
            if !self.want(&shard, wanted)? {
                return Err(HubError::MissingShard {
                    repo: self.repo_id.to_owned(),
                    revision: self.commit.clone(),
                    shard,
                });
            }
        }
        Ok(())
    }

    fn place(&self, file: &str) -> Result<Place, HubError> {
        if self.cache.has(&self.commit, file) {
            return Ok(Place::Cached);
        }
        if self.cache.is_known_absent(&self.commit, file) {
            return Ok(Place::Absent);
        }
        match self.client.head(&self.commit, file)? {
            Head::Found(remote) => Ok(Place::Remote(remote)),
            Head::Absent { known_repo } => {
                if known_repo {
                    note_failed(self.cache.mark_absent(&self.commit, file));
                }
                Ok(Place::Absent)
            }
        }
    }

    fn missing(&self, file: &str) -> HubError {
        HubError::MissingFile {
            repo: self.repo_id.to_owned(),
            revision: self.commit.clone(),
            file: file.to_owned(),
        }
    }
}
