//! Web addresses: where a redirect leads, and who reads what is sent there.

use ureq::http::Uri;

/// The address for a message: without its query, which may hold a signature that opens the file to
/// anyone, and without user and password.
pub(super) fn shown(url: &str) -> String {
    without_user(without_query(url))
}

/// The address with dots in the place of user and password.
///
/// All that stands before the last `@` counts as such, for a password may have any character.
pub(super) fn without_user(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}...@{rest}"),
        None => url.to_owned(),
    }
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// The address that `location` means on the page `base`.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, rest) = base.split_once("://")?;
    let host = rest.split(['/', '?']).next()?;
    let target = if location.contains("://") && !location.starts_with('/') {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{host}{location}")
    } else {
        let path = without_query(rest);
        format!(
            "{scheme}://{}/{location}",
            path.rsplit_once('/').map_or(host, |(folder, _)| folder)
        )
    };
    Origin::of(&target).map(|_| target)
}

/// Scheme, host and port: who gets to read what is sent.
#[derive(PartialEq, Eq)]
pub(super) struct Origin {
    https: bool,
    host: String,
    port: u16,
}

impl Origin {
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())?
            .to_ascii_lowercase();
        // A port out of range must not become the usual one.
        let written = uri.authority()?.as_str().rsplit_once(':');
        let has_port = written.is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        let port = match uri.port_u16() {
            Some(port) => port,
            None if has_port => return None,
            None if https => 443,
            None => 80,
        };
        Some(Self { https, host, port })
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved_against_the_page() {
        let base = "https://hub.example/a/b?x=1";
        for (location, target) in [
            ("https://cdn.example/f?s=2", "https://cdn.example/f?s=2"),
            ("//cdn.example/f", "https://cdn.example/f"),
            ("/c/d?u=https://e", "https://hub.example/c/d?u=https://e"),
            ("d", "https://hub.example/a/d"),
        ] {
            assert_eq!(join(base, location).as_deref(), Some(target));
        }
        assert_eq!(join(base, "file:///secret"), None);
    }

    #[test]
    fn a_message_shows_neither_signature_nor_password() {
        for (url, message) in [
            ("https://a.example/f?signature=s@x", "https://a.example/f"),
            ("https://u:p@a.example/f", "https://...@a.example/f"),
            ("https://u:p/@x@a.example", "https://...@a.example"),
            ("u:p@a.example", "...@a.example"),
            ("a.example", "a.example"),
        ] {
            assert_eq!(shown(url), message);
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| Origin::of(a) == Origin::of(b);
        assert!(same("https://hub.example/a", "https://HUB.example:443/b"));
        assert!(!same("https://hub.example", "http://hub.example"));
        assert!(!same("http://127.0.0.1:1", "http://127.0.0.1:2"));
        assert!(!same("https://hub.example", "https://hub.example.org"));
        assert!(Origin::of("http://[::1]:80").unwrap().is_loopback());
        assert!(Origin::of("hub.example").is_none());
        assert!(Origin::of("http://127.0.0.1:99999").is_none());
    }
}
