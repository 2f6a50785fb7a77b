//! A hub on a port of this machine, as honest as a test wants it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    /// The first byte asked for.
    pub(crate) from: Option<usize>,
}

/// An answer. `sent` is how much of the body really goes out before the connection closes.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) silent: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: vec![], sent: body.len(), body, silent: false }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn cut_at(mut self, sent: usize) -> Self {
        self.sent = sent.min(self.body.len());
        self
    }

    /// Accepts, and never answers.
    pub(crate) fn silence() -> Self {
        Self { silent: true, ..Self::new(200, "") }
    }
}

/// The files of one repository, `org/tiny`, answered as the hub does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repository(pub(crate) BTreeMap<String, Vec<u8>>);

impl Repository {
    pub(crate) fn of(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect())
    }

    pub(crate) fn listing(names: &[&str]) -> Reply {
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        Reply::new(200, serde_json::json!({ "sha": COMMIT, "siblings": siblings }).to_string())
    }

    pub(crate) fn reply(&self, request: &Request) -> Reply {
        if request.path == "/api/models/org/tiny/revision/main" {
            return Self::listing(&self.0.keys().map(String::as_str).collect::<Vec<_>>());
        }
        let file = request.path.strip_prefix("/org/tiny/resolve/main/");
        let Some((name, bytes)) = file.and_then(|name| self.0.get_key_value(name)) else {
            return Reply::new(404, "Entry not found");
        };
        let etag = format!("\"{}-{:x}\"", name.replace(['/', '.'], "_"), bytes.len());
        let reply = match request.from {
            Some(from) => Reply::new(206, &bytes[from..])
                .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            None => Reply::new(200, bytes.as_slice()),
        };
        reply.with("ETag", etag).with("X-Repo-Commit", COMMIT)
    }
}

/// Serves until dropped; remembers what it was asked.
pub(crate) struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped, answer) = (asked.clone(), stop.clone(), Arc::new(answer));
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let (stream, log, answer) = (stream.unwrap(), log.clone(), answer.clone());
                connections.push(std::thread::spawn(move || serve(stream, &log, &*answer)));
            }
            for connection in connections {
                drop(connection.join());
            }
        });
        Self { address, asked, stop, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a path ending in `suffix` was asked for.
    pub(crate) fn count(&self, suffix: &str) -> usize {
        self.asked().iter().filter(|request| request.path.ends_with(suffix)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn serve(mut stream: TcpStream, log: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> Reply) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())))
        .collect();
    let header = |name| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let from =
        header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let request = Request { path, token: header("authorization"), from };
    log.lock().unwrap().push(request.clone());
    let reply = answer(&request);
    if reply.silent {
        // Until the client gives up.
        let _ = stream.read(&mut [0]);
        return;
    }
    let fields: String =
        reply.headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    let length = reply.body.len();
    let head = format!(
        "HTTP/1.1 {} x\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n",
        reply.status
    );
    // A client that has read enough may be gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body[..reply.sent]));
}
