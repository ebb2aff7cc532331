//! Requests to the hub, redirects, and what its refusals mean.

use std::time::Duration;

use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, RANGE};
use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body, BodyReader};

use super::address::{Origin, shown, without_user};
use super::answer::{
    RemoteFile, bad_response, content_range, error_code, has_etag, number, redirect_target,
    remote_file, text,
};
use super::error::HubError;
use super::names;
use super::options::HubOptions;

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const MAX_REDIRECTS: usize = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest silence in a response; the whole download may take as long as it needs.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// One repository on one hub.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    repo: String,
    bearer: Option<HeaderValue>,
}

/// The answer to whether a file exists.
pub(super) enum Head {
    Found(RemoteFile),
    /// `known_repo` if the server says that only the file is missing.
    Absent {
        known_repo: bool,
    },
}

/// The contents of a file from some byte on.
pub(super) struct Contents {
    /// The byte that the reader begins with: the one asked for, or zero.
    pub(super) start: u64,
    /// The bytes of the whole file, if the server says.
    pub(super) size: Option<u64>,
    pub(super) reader: BodyReader<'static>,
}

enum Method {
    Head,
    Get { from: u64 },
}

impl Client {
    pub(super) fn new(repo: &str, options: &HubOptions) -> Result<Self, HubError> {
        let endpoint = options
            .endpoint
            .as_deref()
            .unwrap_or(DEFAULT_ENDPOINT)
            .trim_end_matches('/')
            .to_owned();
        if Origin::of(&endpoint).is_none() || endpoint.contains(['?', '#', '@']) {
            return Err(HubError::InvalidEndpoint {
                endpoint: without_user(&endpoint),
            });
        }
        let bearer = match options
            .token
            .as_deref()
            .map(str::trim)
            .filter(|token| !token.is_empty())
        {
            None => None,
            Some(token) if token.bytes().all(|b| b.is_ascii_graphic()) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| HubError::InvalidToken)?;
                value.set_sensitive(true);
                Some(value)
            }
            Some(_) => return Err(HubError::InvalidToken),
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // Followed here, where it is decided who sees the token.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(READ_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .user_agent(concat!("plm/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            endpoint,
            repo: repo.to_owned(),
            bearer,
        })
    }

    pub(super) fn repo(&self) -> &str {
        &self.repo
    }

    fn url(&self, revision: &str, file: &str) -> String {
        format!(
            "{}/{}/resolve/{}/{}",
            self.endpoint,
            self.repo,
            names::encode(revision, false),
            names::encode(file, true)
        )
    }

    pub(super) fn bad_response(&self, revision: &str, file: &str, reason: &str) -> HubError {
        bad_response(&self.url(revision, file), reason)
    }

    /// The error for contents whose connection broke.
    pub(super) fn broken(&self, revision: &str, file: &str, source: std::io::Error) -> HubError {
        HubError::Network {
            url: self.url(revision, file),
            source: Box::new(source),
        }
    }

    pub(super) fn repo_not_found(&self) -> HubError {
        HubError::RepoNotFound {
            repo: self.repo.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    /// Asks what `file` is at `revision`, without its contents.
    pub(super) fn head(&self, revision: &str, file: &str) -> Result<Head, HubError> {
        let mut url = self.url(revision, file);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&Method::Head, &url)?;
            let status = response.status();
            let headers = response.headers();
            if status.is_redirection() {
                // A renamed repository and small files lead to the hub itself; the headers of
                // interest come from there. For large files they come with the redirect.
                let target = redirect_target(&url, headers)?;
                if text(headers, "x-linked-etag").is_none()
                    && Origin::of(&target) == Origin::of(&self.endpoint)
                {
                    url = target;
                    continue;
                }
                if !has_etag(headers) {
                    let reason = format!(
                        "it redirects to {} without an ETag, set HF_ENDPOINT to the address of the hub itself",
                        shown(&target)
                    );
                    return Err(bad_response(&url, &reason));
                }
            } else if status.as_u16() == 404
                && !matches!(error_code(headers), "RepoNotFound" | "RevisionNotFound")
            {
                return Ok(Head::Absent {
                    known_repo: error_code(headers) == "EntryNotFound",
                });
            } else if !status.is_success() {
                return Err(self.refusal(&url, revision, &response));
            }
            return remote_file(&url, headers, status.is_success()).map(Head::Found);
        }
        Err(bad_response(&url, "it redirects in a circle"))
    }

    /// Asks for the contents of `file` from byte `from` on; none if it ends before.
    pub(super) fn get(
        &self,
        revision: &str,
        file: &str,
        from: u64,
    ) -> Result<Option<Contents>, HubError> {
        let mut url = self.url(revision, file);
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&Method::Get { from }, &url)?;
            match response.status().as_u16() {
                200 => {
                    let size = number(response.headers(), CONTENT_LENGTH.as_str());
                    return Ok(Some(Contents {
                        start: 0,
                        size,
                        reader: response.into_body().into_reader(),
                    }));
                }
                206 => {
                    let (start, size) = content_range(response.headers())
                        .filter(|(start, _)| *start == from)
                        .ok_or_else(|| {
                            bad_response(&url, "it sends another range than asked for")
                        })?;
                    return Ok(Some(Contents {
                        start,
                        size,
                        reader: response.into_body().into_reader(),
                    }));
                }
                416 if from > 0 => return Ok(None),
                300..400 => url = redirect_target(&url, response.headers())?,
                _ => return Err(self.refusal(&url, revision, &response)),
            }
        }
        Err(bad_response(&url, "it redirects in a circle"))
    }

    fn send(&self, method: &Method, url: &str) -> Result<Response<Body>, HubError> {
        let origin = Origin::of(url);
        // Compressed contents would have other lengths and ranges than the file.
        let mut request = match method {
            Method::Head => self.agent.head(url),
            Method::Get { .. } => self.agent.get(url),
        }
        .header(ACCEPT_ENCODING, "identity");
        if let Method::Get { from: from @ 1.. } = method {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(bearer) = &self.bearer
            && origin == Origin::of(&self.endpoint)
        {
            request = request.header(AUTHORIZATION, bearer.clone());
        }
        if origin.is_some_and(|origin| origin.is_loopback()) {
            request = request.config().proxy(None).build();
        }
        request.call().map_err(|source| HubError::Network {
            url: shown(url),
            source: Box::new(source),
        })
    }

    /// The error that a refused request stands for; the hub tells by `X-Error-Code`.
    fn refusal(&self, url: &str, revision: &str, response: &Response<Body>) -> HubError {
        let status = response.status().as_u16();
        let message = text(response.headers(), "x-error-message").unwrap_or_default();
        match (error_code(response.headers()), status) {
            ("GatedRepo", _) => HubError::Gated {
                repo: self.repo.clone(),
                url: format!("{}/{}", self.endpoint, self.repo),
                token_sent: self.bearer.is_some(),
            },
            ("RevisionNotFound", _) => HubError::RevisionNotFound {
                repo: self.repo.clone(),
                revision: revision.to_owned(),
            },
            ("RepoNotFound", _) => self.repo_not_found(),
            (_, 401) if Origin::of(url) == Origin::of(&self.endpoint) => {
                if self.bearer.is_some() {
                    HubError::Unauthorized {
                        endpoint: self.endpoint.clone(),
                    }
                } else {
                    // The hub does not tell strangers whether a private repository exists.
                    self.repo_not_found()
                }
            }
            (_, 429) => HubError::RateLimited { url: shown(url) },
            (_, 403) if Origin::of(url) != Origin::of(&self.endpoint) => {
                HubError::LinkRefused { url: shown(url) }
            }
            _ => HubError::Http {
                status,
                url: shown(url),
                message: message
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(300)
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_endpoints_and_tokens_are_refused() {
        let client = |endpoint: &str, token: &str| {
            let options = HubOptions {
                endpoint: Some(endpoint.to_owned()),
                token: Some(token.to_owned()),
                ..HubOptions::default()
            };
            Client::new("owner/name", &options).map(|client| client.url("refs/pr/1", "a b.json"))
        };
        assert_eq!(
            client("https://hub.example/hf/", "hf_x").unwrap(),
            "https://hub.example/hf/owner/name/resolve/refs%2Fpr%2F1/a%20b.json"
        );
        for endpoint in [
            "",
            "hub.example",
            "ftp://hub.example",
            "https://",
            "https://user:pass@hub.example",
        ] {
            assert!(
                matches!(
                    client(endpoint, "hf_x"),
                    Err(HubError::InvalidEndpoint { .. })
                ),
                "{endpoint}"
            );
        }
        assert!(matches!(
            client("https://hub.example", "a\nb"),
            Err(HubError::InvalidToken)
        ));
    }
}
