//! The hub over HTTP: what a model consists of, and the bytes of one file.
//!
//! Redirects are followed here and not by the HTTP library, because the token is for the hub alone: files come
//! from other hosts, whose addresses carry their own signatures.
//!
//! Nothing here knows the disk.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::time::Duration;

use flow_engine::Problem;
use serde::Deserialize;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::id::HubId;
use super::refusal;
use super::settings::HubSettings;

/// A connection that is silent for so long is taken for dead.
const SILENCE: Duration = Duration::from_secs(20);
const REDIRECTS: usize = 8;
/// No model's list of files is longer, and whoever sends more is no hub.
const MOST_LISTED_BYTES: u64 = 64 << 20;

/// Why the hub gave nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It did not answer, or not now; asking again may help.
    Unreachable(Problem),
    /// It said no.
    Refused(Problem),
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(problem) | Failure::Refused(problem) => problem.into(),
        }
    }
}

/// What names a file's bytes, and how many they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// For a large file the SHA-256 of its bytes, else a digest of git's.
    pub etag: String,
    pub size_bytes: u64,
}

impl Identity {
    fn new(etag: &str, size_bytes: u64) -> Option<Self> {
        // It becomes a file name.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=128).contains(&etag.len()) && etag.bytes().all(is_plain);
        fits.then(|| Self { etag: etag.to_owned(), size_bytes })
    }

    /// The SHA-256 of the bytes, where it is known.
    pub(super) fn sha256(&self) -> Option<&str> {
        let is_hex = self.etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (self.etag.len() == 64 && is_hex).then_some(&self.etag)
    }
}

/// What a model consists of at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    pub commit: String,
    /// Every file's name, and its identity where the hub tells it at once.
    pub files: BTreeMap<String, Option<Identity>>,
}

#[derive(Deserialize)]
struct Answer {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: String,
    size: u64,
}

impl Sibling {
    fn identity(&self) -> Option<Identity> {
        match &self.lfs {
            Some(large) => Identity::new(&large.sha256, large.size),
            None => Identity::new(self.blob_id.as_deref()?, self.size?),
        }
    }
}

/// Bytes on their way, from an offset on.
pub(super) struct Bytes {
    pub reader: Box<dyn Read>,
    pub from: u64,
}

/// Someone who asks the hub.
pub(super) struct Client<'a> {
    settings: &'a HubSettings,
    agent: Agent,
}

impl<'a> Client<'a> {
    pub(super) fn new(settings: &'a HubSettings) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("flow/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(3 * SILENCE))
            .timeout_per_read(Some(SILENCE));
        if is_this_machine(&settings.endpoint) {
            config = config.proxy(None);
        }
        Self { settings, agent: config.build().into() }
    }

    /// What a model consists of.
    pub(super) fn list(&self, id: &HubId) -> Result<Listing, Failure> {
        let (endpoint, revision) = (&self.settings.endpoint, id.revision.replace('/', "%2F"));
        let url = format!("{endpoint}/api/models/{}/revision/{revision}?blobs=true", id.model());
        let response = self.send(&url, Method::Get, 0)?;
        if response.status() != 200 {
            return Err(refusal::of(&response, id, None, self.settings));
        }
        let body = BufReader::new(response.into_body().into_reader().take(MOST_LISTED_BYTES));
        let answer: Answer = serde_json::from_reader(body).map_err(|cause| {
            self.unreachable(&format!("its answer about {id} is not understood: {cause}"))
        })?;
        if !super::id::is_commit(&answer.sha) {
            return Err(self.unreachable(&format!("it calls `{}` a commit of {id}", answer.sha)));
        }
        let files = answer.siblings.into_iter().map(|file| {
            let identity = file.identity();
            (file.rfilename, identity)
        });
        Ok(Listing { commit: answer.sha, files: files.collect() })
    }

    /// A file's identity, where the listing does not tell it.
    pub(super) fn identify(&self, id: &HubId, commit: &str, name: &str) -> Result<Identity, Failure> {
        let response = self.send(&self.file_url(id, commit, name), Method::Head, 0)?;
        let headers = response.headers();
        if !response.status().is_success() && !response.status().is_redirection() {
            return Err(refusal::of(&response, id, Some(name), self.settings));
        }
        let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).unwrap_or_default();
        let size = text(headers, "x-linked-size").or_else(|| text(headers, "content-length"));
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        size.and_then(|size| Identity::new(etag, size.parse().ok()?))
            .ok_or_else(|| self.unreachable(&format!("it does not tell digest and size of `{name}`")))
    }

    /// The bytes of a file, from an offset on where the hub can do that.
    pub(super) fn open(&self, id: &HubId, commit: &str, name: &str, from: u64) -> Result<Bytes, Failure> {
        let response = self.send(&self.file_url(id, commit, name), Method::Get, from)?;
        let from = match response.status().as_u16() {
            200 => 0,
            206 => start_of_range(response.headers()).ok_or_else(|| {
                self.unreachable(&format!("it does not tell which part of `{name}` it sends"))
            })?,
            _ => return Err(refusal::of(&response, id, Some(name), self.settings)),
        };
        Ok(Bytes { reader: Box::new(response.into_body().into_reader()), from })
    }

    fn file_url(&self, id: &HubId, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{name}", self.settings.endpoint, id.model())
    }

    fn send(&self, url: &str, method: Method, from: u64) -> Result<Response<Body>, Failure> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let response = self.send_once(&url, method, from)?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = text(response.headers(), "location").filter(|_| is_redirect) else {
                return Ok(response);
            };
            let next = joined(&url, location);
            // Only the hub itself tells a large file's digest.
            if method == Method::Head && origin(&next) != origin(&url) {
                return Ok(response);
            }
            url = next;
        }
        Err(self.unreachable("it sends from one address to the next without end"))
    }

    fn send_once(&self, url: &str, method: Method, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = match method {
            Method::Get => self.agent.get(url),
            Method::Head => self.agent.head(url),
        };
        request = request.header("accept-encoding", "identity");
        if let Some(token) = &self.settings.token
            && origin(url) == origin(&self.settings.endpoint)
        {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call().map_err(|cause| self.unreachable(&cause.to_string()))
    }

    fn unreachable(&self, cause: &str) -> Failure {
        Failure::Unreachable(
            Problem::new(format!("{} cannot be reached: {cause}", self.settings.endpoint))
                .hint("check the connection; `HF_ENDPOINT` names another address of the hub"),
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Get,
    Head,
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The offset in `Content-Range: bytes 100-199/200`.
fn start_of_range(headers: &HeaderMap) -> Option<u64> {
    text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end])
}

/// Where a redirect from one address leads.
fn joined(url: &str, location: &str) -> String {
    // Only before the path: a query may hold another address.
    let scheme = location.find("://").filter(|&end| !location[..end].contains(['/', '?', '#']));
    if scheme.is_some() {
        return location.to_owned();
    }
    if location.starts_with("//") {
        let scheme = url.split("//").next().unwrap_or_default();
        return format!("{scheme}{location}");
    }
    if location.starts_with('/') {
        return format!("{}{location}", origin(url));
    }
    let path = url.split(['?', '#']).next().unwrap_or(url);
    format!("{}/{location}", path.rsplit_once('/').map_or(path, |(folder, _)| folder))
}

fn is_this_machine(endpoint: &str) -> bool {
    let host = endpoint.split("://").nth(1).unwrap_or(endpoint);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|here| host.starts_with(here))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_browsers_go() {
        let from = "https://hub.test/a/b/resolve/0/c?d=1";
        assert_eq!(joined(from, "https://cdn.test/x"), "https://cdn.test/x");
        assert_eq!(joined(from, "//cdn.test/x"), "https://cdn.test/x");
        assert_eq!(joined(from, "/x/y"), "https://hub.test/x/y");
        assert_eq!(joined(from, "/x?for=https://hub.test/"), "https://hub.test/x?for=https://hub.test/");
        assert_eq!(joined("https://hub.test/a/b?c=/d", "x"), "https://hub.test/a/x");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://hub.test/a"), "https://hub.test");
        assert_ne!(origin("https://hub.test@evil.test/a"), origin("https://hub.test"));
        assert_ne!(origin("http://hub.test/a"), origin("https://hub.test/a"));
        assert_ne!(origin("https://hub.test:444/a"), origin("https://hub.test/a"));
    }

    #[test]
    fn an_etag_that_is_no_file_name_is_none() {
        assert!(Identity::new("../../x", 1).is_none());
        assert!(Identity::new("", 1).is_none());
        assert!(Identity::new("0123", 1).is_some_and(|identity| identity.sha256().is_none()));
    }
}
