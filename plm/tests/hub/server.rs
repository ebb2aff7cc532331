//! A local server that plays the hub, and a second one that plays its content network.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use sha1::Sha1;
use sha2::{Digest, Sha256};

pub(crate) const REPO: &str = "owner/Tiny-PLM";
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub(crate) const TOKEN: &str = "hf_valid";

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// Whether the content network was asked, not the hub.
    pub(crate) on_cdn: bool,
}

impl Seen {
    /// The last part of the path.
    pub(crate) fn file(&self) -> &str {
        self.path
            .split('?')
            .next()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What the hub holds and how it behaves.
pub(crate) struct State {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The branch and the commit that it stands for.
    pub(crate) branch: (String, String),
    pub(crate) gated: bool,
    /// Whether the account of [`TOKEN`] has accepted the licence.
    pub(crate) accepted: bool,
    /// Answers every request with this status and no explanation.
    pub(crate) broken: Option<u16>,
    /// Answers requests for this file with this status and no explanation.
    pub(crate) broken_file: Option<(&'static str, u16)>,
    /// The content network answers every request with this status.
    pub(crate) broken_cdn: Option<u16>,
    /// Sends every request to this address, without a word about the file.
    pub(crate) moved_to: Option<String>,
    /// The content network stops after so many bytes of each answer.
    pub(crate) cut: Option<usize>,
    pub(crate) ignore_range: bool,
    /// The content network sends other bytes than those announced.
    pub(crate) damage: bool,
    /// The hub does so for small files.
    pub(crate) damage_small: bool,
    /// Added to the announced size of large files.
    pub(crate) lie: u64,
    log: Vec<Seen>,
}

/// The two servers; they end with the test process.
pub(crate) struct Hub {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub(crate) fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let state = Arc::new(Mutex::new(State {
            files,
            branch: ("main".to_owned(), COMMIT.to_owned()),
            gated: false,
            accepted: false,
            broken: None,
            broken_file: None,
            broken_cdn: None,
            moved_to: None,
            cut: None,
            ignore_range: false,
            damage: false,
            damage_small: false,
            lie: 0,
            log: Vec::new(),
        }));
        let cdn = serve(Arc::clone(&state), true, |state, request| {
            cdn(state, request)
        });
        let endpoint = serve(Arc::clone(&state), false, move |state, request| {
            hub(state, request, &cdn)
        });
        Self { endpoint, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The requests since the last call.
    pub(crate) fn take_log(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().log)
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The name that git gives to these contents.
fn git_id(bytes: &[u8]) -> String {
    let sum = Sha1::new()
        .chain_update(format!("blob {}\0", bytes.len()))
        .chain_update(bytes);
    hex(&sum.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What goes back: status, headers, contents, and how much of the contents is really sent.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    sent: usize,
}

impl Answer {
    fn new(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Self {
        let sent = body.len();
        Self {
            status,
            headers,
            body,
            sent,
        }
    }

    fn error(status: u16, code: &str) -> Self {
        let headers = if code.is_empty() {
            vec![]
        } else {
            vec![("X-Error-Code", code.to_owned())]
        };
        Self::new(status, headers, b"{\"error\": \"no\"}".to_vec())
    }
}

fn serve(
    state: Arc<Mutex<State>>,
    on_cdn: bool,
    answer: impl Fn(&State, &Seen) -> Answer + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (state, answer) = (Arc::clone(&state), Arc::clone(&answer));
            std::thread::spawn(move || {
                let Some(seen) = read_request(&stream, on_cdn) else {
                    return;
                };
                let reply = {
                    let mut state = state.lock().unwrap();
                    state.log.push(seen.clone());
                    answer(&state, &seen)
                };
                // The client may be gone; that is its own affair.
                let _ = write_answer(stream, &seen, &reply);
            });
        }
    });
    address
}

fn read_request(stream: &TcpStream, on_cdn: bool) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(':')
                .map(|(k, v)| (k.to_ascii_lowercase(), v.trim().to_owned()))
        })
        .collect();
    Some(Seen {
        method,
        path,
        headers,
        on_cdn,
    })
}

fn write_answer(mut stream: TcpStream, seen: &Seen, answer: &Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", answer.body.len()));
    stream.write_all(head.as_bytes())?;
    if seen.method != "HEAD" {
        stream.write_all(&answer.body[..answer.sent])?;
    }
    stream.flush()
}

fn hub(state: &State, request: &Seen, cdn: &str) -> Answer {
    if let Some(status) = state.broken {
        return Answer::error(status, "");
    }
    if let Some((file, status)) = state.broken_file
        && request.file() == file
    {
        return Answer::error(status, "");
    }
    if let Some(target) = &state.moved_to {
        return Answer::new(301, vec![("Location", target.clone())], vec![]);
    }
    let authorization = request.header("authorization");
    if authorization.is_some_and(|value| value != format!("Bearer {TOKEN}")) {
        let message = "Invalid credentials in Authorization header".to_owned();
        return Answer::new(401, vec![("X-Error-Message", message)], vec![]);
    }
    let commit = &state.branch.1;
    if let Some(file) = request.path.strip_prefix("/api/resolve-cache/") {
        let mut body = state.files[file].clone();
        let etag = format!("W/\"{}\"", git_id(&body));
        if state.damage_small {
            body[0] ^= 1;
        }
        return Answer::new(
            200,
            vec![("ETag", etag), ("X-Repo-Commit", commit.clone())],
            body,
        );
    }
    let Some(rest) = request.path.strip_prefix(&format!("/{REPO}/resolve/")) else {
        // As the hub does: strangers do not learn whether a repository exists.
        return Answer::error(
            if authorization.is_some() { 404 } else { 401 },
            "RepoNotFound",
        );
    };
    if state.gated && !(state.accepted && authorization.is_some()) {
        return Answer::error(if authorization.is_some() { 403 } else { 401 }, "GatedRepo");
    }
    let (revision, file) = rest.split_once('/').unwrap();
    if revision.replace("%2F", "/") != state.branch.0 && revision != commit {
        return Answer::error(404, "RevisionNotFound");
    }
    let Some(contents) = state.files.get(file) else {
        let mut answer = Answer::error(404, "EntryNotFound");
        answer.headers.push(("X-Repo-Commit", commit.clone()));
        return answer;
    };
    if !file.ends_with(".safetensors") {
        return Answer::new(
            307,
            vec![("Location", format!("/api/resolve-cache/{file}"))],
            b"moved".to_vec(),
        );
    }
    let headers = vec![
        ("Location", format!("{cdn}/blob/{file}?signature=secret")),
        ("ETag", "\"of-the-redirect\"".to_owned()),
        ("X-Repo-Commit", commit.clone()),
        ("X-Linked-Etag", format!("\"{}\"", sha256(contents))),
        (
            "X-Linked-Size",
            (contents.len() as u64 + state.lie).to_string(),
        ),
    ];
    Answer::new(302, headers, b"found elsewhere".to_vec())
}

fn cdn(state: &State, request: &Seen) -> Answer {
    if let Some(status) = state.broken_cdn {
        return Answer::error(status, "");
    }
    let mut contents = state.files[request.file()].clone();
    if state.damage {
        contents[0] ^= 1;
    }
    let size = contents.len();
    let range = request.header("range").filter(|_| !state.ignore_range);
    let mut answer = match range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')) {
        None => Answer::new(200, vec![], contents),
        Some(from) => {
            let from: usize = from.parse().unwrap();
            if from >= size {
                return Answer::new(416, vec![], vec![]);
            }
            let range = format!("bytes {from}-{}/{size}", size - 1);
            Answer::new(
                206,
                vec![("Content-Range", range)],
                contents.split_off(from),
            )
        }
    };
    answer.sent = state.cut.map_or(answer.sent, |cut| cut.min(answer.sent));
    answer
}
