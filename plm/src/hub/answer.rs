//! What the headers of the hub's answers say.

use ureq::http::HeaderMap;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LOCATION};

use super::address;
use super::checksum::Checksum;
use super::error::HubError;
use super::names;

/// What the hub says about one file.
#[derive(Debug)]
pub(super) struct RemoteFile {
    pub(super) commit: Option<String>,
    pub(super) etag: String,
    pub(super) size: Option<u64>,
    /// What the contents must match, where the entity tag tells.
    pub(super) checksum: Option<Checksum>,
}

pub(super) fn bad_response(url: &str, reason: &str) -> HubError {
    HubError::BadResponse {
        url: address::shown(url),
        reason: reason.to_owned(),
    }
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.trim().parse().ok()
}

pub(super) fn error_code(headers: &HeaderMap) -> &str {
    text(headers, "x-error-code").unwrap_or_default()
}

/// First byte and whole size of `bytes 10-19/20`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (range, size) = text(headers, CONTENT_RANGE.as_str())?
        .trim()
        .strip_prefix("bytes ")?
        .split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()))
}

pub(super) fn remote_file(
    url: &str,
    headers: &HeaderMap,
    is_final: bool,
) -> Result<RemoteFile, HubError> {
    let linked = text(headers, "x-linked-etag");
    let etag = linked
        .or_else(|| text(headers, ETAG.as_str()))
        .map(|etag| {
            etag.trim()
                .trim_start_matches("W/")
                .trim_matches('"')
                .to_owned()
        })
        .filter(|etag| names::is_file_name(etag))
        .ok_or_else(|| bad_response(url, "the ETag header is missing or not a plain name"))?;
    let commit = text(headers, "x-repo-commit").map(str::to_owned);
    if commit
        .as_deref()
        .is_some_and(|commit| !names::is_file_name(commit))
    {
        return Err(bad_response(
            url,
            "the X-Repo-Commit header is not a commit",
        ));
    }
    let checksum = Checksum::of_etag(&etag, linked.is_some());
    // The length that comes with a redirect is that of the redirect.
    let length = if is_final {
        number(headers, CONTENT_LENGTH.as_str())
    } else {
        None
    };
    Ok(RemoteFile {
        commit,
        etag,
        size: number(headers, "x-linked-size").or(length),
        checksum,
    })
}

pub(super) fn has_etag(headers: &HeaderMap) -> bool {
    headers.contains_key("x-linked-etag") || headers.contains_key(ETAG)
}

pub(super) fn redirect_target(url: &str, headers: &HeaderMap) -> Result<String, HubError> {
    let location = text(headers, LOCATION.as_str())
        .ok_or_else(|| bad_response(url, "it redirects to nowhere"))?;
    let target = address::join(url, location)
        .ok_or_else(|| bad_response(url, "it redirects to something unreadable"))?;
    if url.starts_with("https://") && !target.starts_with("https://") {
        return Err(bad_response(url, "it redirects to an unencrypted address"));
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_redirect_does_not_leave_encryption() {
        let target = |location| {
            redirect_target("https://hub.example/a", &headers(&[("location", location)]))
        };
        assert_eq!(
            target("https://cdn.example/b").unwrap(),
            "https://cdn.example/b"
        );
        assert!(matches!(
            target("http://hub.example/"),
            Err(HubError::BadResponse { .. })
        ));
    }

    #[test]
    fn the_length_of_a_redirect_is_not_that_of_the_file() {
        let headers = headers(&[("etag", "W/\"abc\""), ("content-length", "12")]);
        let file = remote_file("u", &headers, false).unwrap();
        assert_eq!(
            (file.etag.as_str(), file.size, file.checksum),
            ("abc", None, None)
        );
        assert_eq!(remote_file("u", &headers, true).unwrap().size, Some(12));
    }

    #[test]
    fn an_entity_tag_that_is_a_path_is_refused() {
        for etag in ["\"../x\"", "\"\"", "\"a/b\""] {
            assert!(matches!(
                remote_file("u", &headers(&[("etag", etag)]), true),
                Err(HubError::BadResponse { .. })
            ));
        }
        let headers = headers(&[("etag", "\"a\""), ("x-repo-commit", "../../x")]);
        assert!(matches!(
            remote_file("u", &headers, true),
            Err(HubError::BadResponse { .. })
        ));
    }

    #[test]
    fn a_range_is_read() {
        let range = |text: &str| content_range(&headers(&[("content-range", text)]));
        assert_eq!(range("bytes 10-19/20"), Some((10, Some(20))));
        assert_eq!(range("bytes 10-19/*"), Some((10, None)));
        assert_eq!(range("lines 1-2/3"), None);
    }
}
