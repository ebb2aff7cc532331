//! What a caller can choose about a download, and what the environment says.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::address;
use super::error::HubError;

/// A function that is told how far a download is.
pub type ProgressFn = dyn Fn(&DownloadProgress) + Send + Sync;

/// How far the file that is being fetched is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadProgress {
    /// The file's name in the repository.
    pub file: String,
    /// The file's place among those that this call fetches, from zero.
    pub file_index: usize,
    /// How many files this call fetches; what the cache has is not counted.
    pub num_files: usize,
    /// The bytes of this file that are on disk, those of an earlier attempt included.
    pub bytes: u64,
    /// The bytes of the whole file, if the server says.
    pub total_bytes: Option<u64>,
}

/// Where a checkpoint is fetched from and kept.
///
/// The default is the `main` revision at <https://huggingface.co>, without a token; the
/// environment is read by [`HubOptions::from_env`].
#[derive(Clone)]
pub struct HubOptions {
    /// Branch, tag or commit.
    pub revision: String,
    /// The cache folder; without one, that of [`HubOptions::from_env`].
    pub cache_dir: Option<PathBuf>,
    /// The access token. It is sent to the endpoint only.
    pub token: Option<String>,
    /// The hub's address; without one, <https://huggingface.co>.
    pub endpoint: Option<String>,
    /// Use the cache only and make no connection.
    pub offline: bool,
    /// Told about each file at its start, about once a megabyte, and at its end.
    pub progress: Option<Arc<ProgressFn>>,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            revision: "main".to_owned(),
            cache_dir: None,
            token: None,
            endpoint: None,
            offline: false,
            progress: None,
        }
    }
}

impl fmt::Debug for HubOptions {
    /// Everything but the token and a password in the endpoint, which must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("revision", &self.revision)
            .field("cache_dir", &self.cache_dir)
            .field("token", &self.token.as_ref().map(|_| "..."))
            .field(
                "endpoint",
                &self.endpoint.as_deref().map(address::without_user),
            )
            .field("offline", &self.offline)
            .field("progress", &self.progress.is_some())
            .finish()
    }
}

impl HubOptions {
    /// The options that the environment asks for, in variables that Python's `huggingface_hub` reads
    /// too.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_HUB_CACHE` | the cache folder; `HUGGINGFACE_HUB_CACHE` is its older name |
    /// | `HF_HOME` | holds the cache as `hub` and the token as `token`; `huggingface` in `XDG_CACHE_HOME` or in `~/.cache` if unset |
    /// | `HF_TOKEN` | the access token; `HUGGING_FACE_HUB_TOKEN` is its older name |
    /// | `HF_TOKEN_PATH` | the file that holds the token, if no variable does |
    /// | `HF_ENDPOINT` | the hub's address |
    /// | `HF_HUB_OFFLINE` | `1`, `true`, `yes` or `on`: use the cache only |
    ///
    /// A newer name wins over an older one, and an empty variable counts as unset. In a path, `~` at
    /// the start is the user's folder; variables in it are left as they are. Line breaks in a token
    /// are taken out.
    ///
    /// Proxies are those of `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// As [`HubOptions::from_env`], with another source of variables.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = |name: &str| {
            let value = lookup(name)?.into_string().ok()?.trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let token_of = |name: &str| one_line(&lookup(name)?.into_string().ok()?);
        let token = token_of("HF_TOKEN")
            .or_else(|| token_of("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| {
                let path = path(&lookup, "HF_TOKEN_PATH")
                    .or_else(|| Some(home(&lookup)?.join("token")))?;
                read_token(&path)
            });
        let offline = text("HF_HUB_OFFLINE").is_some_and(|value| {
            matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            )
        });
        Self {
            cache_dir: default_cache_dir(&lookup),
            token,
            endpoint: text("HF_ENDPOINT"),
            offline,
            ..Self::default()
        }
    }

    pub(super) fn cache_dir_or_default(&self) -> Result<PathBuf, HubError> {
        let dir = self
            .cache_dir
            .clone()
            .or_else(|| default_cache_dir(&|name: &str| std::env::var_os(name)));
        dir.ok_or(HubError::NoCacheDir)
    }
}

fn default_cache_dir(lookup: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    path(lookup, "HF_HUB_CACHE")
        .or_else(|| path(lookup, "HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(home(lookup)?.join("hub")))
}

/// The folder that holds the token and, by default, the cache.
fn home(lookup: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    path(lookup, "HF_HOME")
        .or_else(|| Some(path(lookup, "XDG_CACHE_HOME")?.join("huggingface")))
        .or_else(|| Some(user_dir(lookup)?.join(".cache").join("huggingface")))
}

fn user_dir(lookup: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    lookup(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The path in a variable; a leading `~` is the user's folder, as in Python.
fn path(lookup: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<PathBuf> {
    let value = PathBuf::from(lookup(name).filter(|value| !value.is_empty())?);
    match value.strip_prefix("~") {
        Ok(rest) => Some(user_dir(lookup)?.join(rest)),
        Err(_) => Some(value),
    }
}

/// The token in a text that an editor or a terminal may have broken into lines.
fn one_line(text: &str) -> Option<String> {
    let token = text.replace(['\r', '\n'], "").trim().to_owned();
    Some(token).filter(|token| !token.is_empty())
}

fn read_token(path: &Path) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => one_line(&text),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the token file cannot be read, no token is sent");
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> HubOptions {
        HubOptions::from_lookup(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn an_empty_environment_sets_nothing() {
        let options = options(&[]);
        assert_eq!(options.revision, "main");
        assert!(
            options.cache_dir.is_none() && options.token.is_none() && options.endpoint.is_none()
        );
        assert!(!options.offline);
    }

    #[test]
    fn the_cache_is_found_as_python_finds_it() {
        let dir = |variables: &[(&str, &str)]| options(variables).cache_dir.unwrap();
        let user = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        assert_eq!(dir(&[(user, "/u")]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(
            dir(&[(user, "/u"), ("XDG_CACHE_HOME", "/x")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(dir(&[(user, "/u"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
        assert_eq!(
            dir(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert_eq!(
            dir(&[(user, "/u"), ("HF_HUB_CACHE", "~/c")]),
            Path::new("/u/c")
        );
        assert_eq!(
            dir(&[("HF_HOME", "/h"), ("HUGGINGFACE_HUB_CACHE", "/o")]),
            Path::new("/o")
        );
        assert_eq!(
            dir(&[("HUGGINGFACE_HUB_CACHE", "/o"), ("HF_HUB_CACHE", "/c")]),
            Path::new("/c")
        );
        assert_eq!(
            dir(&[(user, "/u"), ("HF_HOME", "")]),
            Path::new("/u/.cache/huggingface/hub")
        );
    }

    #[test]
    fn the_token_comes_from_the_variable_then_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().to_str().unwrap();
        assert_eq!(options(&[("HF_HOME", home)]).token, None);
        std::fs::write(dir.path().join("token"), "hf_home\n").unwrap();
        assert_eq!(
            options(&[("HF_HOME", home)]).token.as_deref(),
            Some("hf_home")
        );
        let other = dir.path().join("other");
        std::fs::write(&other, "hf_path").unwrap();
        let variables = [
            ("HF_HOME", home),
            ("HF_TOKEN_PATH", other.to_str().unwrap()),
        ];
        assert_eq!(options(&variables).token.as_deref(), Some("hf_path"));
        let older = ("HUGGING_FACE_HUB_TOKEN", "hf_older");
        assert_eq!(
            options(&[("HF_HOME", home), older]).token.as_deref(),
            Some("hf_older")
        );
        let variables = [older, ("HF_TOKEN", " hf_\r\nvariable\n ")];
        assert_eq!(options(&variables).token.as_deref(), Some("hf_variable"));
    }

    #[test]
    fn offline_and_endpoint_are_read() {
        for (value, offline) in [
            ("1", true),
            ("ON", true),
            ("True", true),
            ("0", false),
            ("", false),
            ("no", false),
        ] {
            assert_eq!(
                options(&[("HF_HUB_OFFLINE", value)]).offline,
                offline,
                "{value}"
            );
        }
        let endpoint = options(&[("HF_ENDPOINT", "https://hub.example/")]).endpoint;
        assert_eq!(endpoint.as_deref(), Some("https://hub.example/"));
    }

    #[test]
    fn the_token_is_not_printed() {
        let options = options(&[("HF_TOKEN", "hf_secret")]);
        assert!(!format!("{options:?}").contains("secret"));
    }
}
