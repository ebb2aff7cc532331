//! One repository's part of the cache.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::names;

/// Paths and small files of one repository in the hub's cache layout.
pub(super) struct RepoCache {
    root: PathBuf,
    folder: String,
    /// Makes a link to a target; a test plays a file system that cannot.
    symlink: fn(&str, &Path) -> io::Result<()>,
}

impl RepoCache {
    pub(super) fn new(root: &Path, repo_id: &str) -> Self {
        Self {
            root: root.to_owned(),
            folder: format!("models--{}", repo_id.replace('/', "--")),
            symlink,
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn repo(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.repo().join("blobs").join(etag)
    }

    /// Where a blob grows until it is whole.
    pub(super) fn incomplete(&self, etag: &str) -> PathBuf {
        self.repo().join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo().join("snapshots").join(commit)
    }

    pub(super) fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.snapshot(commit).join(file)
    }

    /// Whether the snapshot has the file; a link to a blob that is gone does not count.
    pub(super) fn has(&self, commit: &str, file: &str) -> bool {
        self.pointer(commit, file).is_file()
    }

    fn no_exist(&self, commit: &str, file: &str) -> PathBuf {
        self.repo().join(".no_exist").join(commit).join(file)
    }

    pub(super) fn is_known_absent(&self, commit: &str, file: &str) -> bool {
        self.no_exist(commit, file).exists()
    }

    /// Remembers that the commit has no such file, which cannot change.
    pub(super) fn mark_absent(&self, commit: &str, file: &str) -> Result<(), HubError> {
        let path = self.no_exist(commit, file);
        make_parent(&path)?;
        File::create(&path)
            .map(drop)
            .map_err(|source| HubError::io("write", &path, source))
    }

    /// The commit that `revision` stood for when it was last fetched.
    pub(super) fn read_ref(&self, revision: &str) -> Result<Option<String>, HubError> {
        let path = self.repo().join("refs").join(revision);
        match fs::read_to_string(&path) {
            Ok(text) => {
                Ok(Some(text.trim().to_owned()).filter(|commit| names::is_file_name(commit)))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(source) => Err(HubError::io("read", &path, source)),
        }
    }

    /// Notes what `revision` stands for, in one step for readers of other processes.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.repo().join("refs").join(revision);
        if matches!(fs::read_to_string(&path), Ok(text) if text == commit) {
            return Ok(());
        }
        make_parent(&path)?;
        self.step_aside(&path, |new| fs::write(new, commit))
            .map_err(|source| HubError::io("write", &path, source))
    }

    /// Waits until no other process or thread fetches the blob; free again when dropped.
    pub(super) fn lock(&self, etag: &str) -> Result<File, HubError> {
        let path = self
            .root
            .join(".locks")
            .join(&self.folder)
            .join(format!("{etag}.lock"));
        make_parent(&path)?;
        let failed = |source| HubError::io("lock", &path, source);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::warn!(lock = %path.display(), "waiting for another process that fetches the same file");
                file.lock().map_err(failed)?;
            }
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) => {
                tracing::warn!(lock = %path.display(), %error, "fetching without a lock");
            }
        }
        Ok(file)
    }

    /// Puts a blob into the snapshot under its file name.
    ///
    /// A file system without links gets a second copy, for another commit may use the blob too.
    pub(super) fn link(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        self.place(commit, file, etag, |pointer| {
            self.step_aside(pointer, |new| fs::copy(self.blob(etag), new).map(drop))
        })
    }

    /// As [`RepoCache::link`], for a blob that has just been written.
    ///
    /// On a file system without links it moves into the snapshot, as Python does, so that weights
    /// take their space once.
    pub(super) fn link_new(&self, commit: &str, file: &str, etag: &str) -> Result<(), HubError> {
        self.place(commit, file, etag, |pointer| {
            fs::rename(self.blob(etag), pointer)
        })
    }

    fn place(
        &self,
        commit: &str,
        file: &str,
        etag: &str,
        without_links: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<(), HubError> {
        let pointer = self.pointer(commit, file);
        if pointer.is_file() {
            return Ok(());
        }
        make_parent(&pointer)?;
        let target = format!(
            "{}blobs/{etag}",
            "../".repeat(2 + file.matches('/').count())
        );
        let placed = match self.step_aside(&pointer, |new| (self.symlink)(&target, new)) {
            Err(error) if may_lack_links(&error) => without_links(&pointer),
            placed => placed,
        };
        placed.map_err(|source| HubError::io("write", &pointer, source))
    }

    /// Makes a new file under a name of its own and then calls it `path`, so that it appears whole
    /// and replaces a dead link.
    fn step_aside(&self, path: &Path, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        // Outside `refs/` and `snapshots/`, where every file counts.
        let new = self.repo().join(format!(".new-{}", unique()));
        make(&new)
            .and_then(|()| fs::rename(&new, path))
            .inspect_err(|_| {
                let _ = fs::remove_file(&new);
            })
    }
}

/// Whether a link that was not made may be one that the file system cannot make; each has its own
/// error for that.
fn may_lack_links(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(unix)]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &str, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target.replace('/', "\\"), link)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_target: &str, _link: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A name that no other thread or process uses, not even one that was killed: containers give every
/// process the same number.
fn unique() -> String {
    use std::hash::{BuildHasher, RandomState};
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    // The hash of nothing under random keys is a random number.
    format!(
        "{:x}-{:016x}",
        since.as_nanos(),
        RandomState::new().hash_one(())
    )
}

/// Creates the folder that will hold `path`.
pub(super) fn make_parent(path: &Path) -> Result<(), HubError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|source| HubError::io("create", parent, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_leads_to_its_blob_from_any_depth() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "owner/name");
        let blob = cache.blob("tag");
        assert_eq!(blob, dir.path().join("models--owner--name/blobs/tag"));
        make_parent(&blob).unwrap();
        fs::write(&blob, "text").unwrap();
        for file in ["a.json", "x/y/a.json"] {
            cache.link("c0", file, "tag").unwrap();
            assert_eq!(
                fs::read_to_string(cache.pointer("c0", file)).unwrap(),
                "text"
            );
        }
        #[cfg(unix)]
        assert_eq!(
            fs::read_link(cache.pointer("c0", "a.json")).unwrap(),
            Path::new("../../blobs/tag")
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_dead_pointer_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "name");
        let pointer = cache.pointer("c0", "a.json");
        make_parent(&pointer).unwrap();
        symlink("../../blobs/gone", &pointer).unwrap();
        assert!(!cache.has("c0", "a.json"));
        make_parent(&cache.blob("tag")).unwrap();
        fs::write(cache.blob("tag"), "text").unwrap();
        cache.link("c0", "a.json", "tag").unwrap();
        assert!(cache.has("c0", "a.json"));
    }

    #[cfg(unix)]
    #[test]
    fn what_a_killed_process_left_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "name");
        make_parent(&cache.blob("tag")).unwrap();
        fs::write(cache.blob("tag"), "text").unwrap();
        for n in 0..64 {
            let left = format!(".pointer-{}-{n}", std::process::id());
            symlink("../../blobs/gone", &cache.repo().join(left)).unwrap();
        }
        cache.link("c0", "a.json", "tag").unwrap();
        assert!(cache.has("c0", "a.json"));
    }

    #[test]
    fn without_links_a_new_blob_moves_and_an_old_one_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache {
            // What Linux says of a FAT file system.
            symlink: |_, _| Err(io::ErrorKind::PermissionDenied.into()),
            ..RepoCache::new(dir.path(), "name")
        };
        let blob = cache.blob("tag");
        make_parent(&blob).unwrap();
        fs::write(&blob, "text").unwrap();
        cache.link("c0", "a.json", "tag").unwrap();
        assert!(blob.is_file());
        cache.link_new("c1", "a.json", "tag").unwrap();
        assert!(!blob.exists());
        for commit in ["c0", "c1"] {
            let pointer = cache.pointer(commit, "a.json");
            assert!(pointer.symlink_metadata().unwrap().is_file());
            assert_eq!(fs::read_to_string(pointer).unwrap(), "text");
        }
    }

    #[test]
    fn a_link_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache {
            symlink: |_, new| fs::write(new, "half").and(Err(io::ErrorKind::StorageFull.into())),
            ..RepoCache::new(dir.path(), "name")
        };
        let error = cache.link("c0", "a.json", "tag").unwrap_err();
        assert!(matches!(error, HubError::DiskFull { .. }), "{error:?}");
        assert_eq!(fs::read_dir(cache.repo()).unwrap().count(), 1);
    }

    #[test]
    fn a_ref_is_read_back_and_a_damaged_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "owner/name");
        assert_eq!(cache.read_ref("refs/pr/1").unwrap(), None);
        cache.write_ref("refs/pr/1", "abc").unwrap();
        assert_eq!(cache.read_ref("refs/pr/1").unwrap().as_deref(), Some("abc"));
        cache.write_ref("main", "../../x").unwrap();
        assert_eq!(cache.read_ref("main").unwrap(), None);
    }

    #[test]
    fn a_blob_has_one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(dir.path(), "owner/name");
        let held = cache.lock("tag").unwrap();
        let path = dir.path().join(".locks/models--owner--name/tag.lock");
        let other = File::open(path).unwrap();
        assert!(other.try_lock().is_err());
        drop(held);
        assert!(other.try_lock().is_ok());
    }
}
