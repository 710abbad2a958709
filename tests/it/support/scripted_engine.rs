//! A search engine that says what a test dictates: a small HTTP server in the test's process. It keeps no documents.
//!
//! What is not scripted is answered as a healthy OpenSearch would, as far as the store asks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// `POST /_bulk`, without the query.
    pub target: String,
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Recorded {
    /// Lines of the body.
    pub fn lines(&self) -> usize {
        self.body.split(|byte| *byte == b'\n').count() - 1
    }
}

/// What the engine does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Closes the connection with a reset, without a word.
    Reset,
    /// Announces more than it sends, and closes.
    BreakOff,
    /// Never answers.
    Silence,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.to_string() }
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::Answer { status, headers: Vec::new(), body: body.to_owned() }
    }

    /// A bulk answer with an item per status; those from 400 carry an error.
    pub fn items(operation: &str, statuses: &[u16]) -> Self {
        let items: Vec<_> = statuses.iter().map(|status| json!({ operation: item(*status) })).collect();
        Self::json(200, &json!({ "took": 1, "errors": false, "items": items }))
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

fn item(status: u16) -> Value {
    let error = match status {
        200..=299 => return json!({ "status": status }),
        400 => json!({ "type": "mapper_parsing_exception", "reason": "failed to parse field [x] of type [long] in \
            document with id '1'. Preview of field's value: 'secret'" }),
        404 => json!({ "type": "index_not_found_exception", "reason": "no such index [x]" }),
        409 => json!({ "type": "version_conflict_engine_exception", "reason": "conflict" }),
        _ => json!({ "type": "some_exception", "reason": "reason" }),
    };
    json!({ "status": status, "error": error })
}

#[derive(Default)]
struct State {
    requests: Vec<Recorded>,
    scripts: HashMap<String, VecDeque<Reply>>,
    /// Replies to targets that begin like this, and how often each is given.
    prefixes: Vec<(usize, String, Reply)>,
    indices: HashSet<String>,
    templates: HashMap<String, Value>,
}

/// The server; it ends when dropped.
pub struct ScriptedEngine {
    pub url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for ScriptedEngine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ScriptedEngine {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { url, state, server }
    }

    /// Dictates the reply to the next request of this target (`POST /_bulk`) that has no reply yet.
    pub fn script(&self, target: &str, reply: Reply) {
        self.lock().scripts.entry(target.to_owned()).or_default().push_back(reply);
    }

    /// Dictates the reply to every request whose target begins like this and has no reply of its own.
    pub fn script_prefix(&self, prefix: &str, reply: Reply) {
        self.script_prefix_times(usize::MAX, prefix, reply);
    }

    /// The same for so many requests; what is dictated first is given first.
    pub fn script_prefix_times(&self, times: usize, prefix: &str, reply: Reply) {
        self.lock().prefixes.push((times, prefix.to_owned(), reply));
    }

    /// As if somebody had deleted every index.
    pub fn forget_indices(&self) {
        self.lock().indices.clear();
    }

    /// The requests so far whose target begins like this.
    pub fn requests(&self, target: &str) -> Vec<Recorded> {
        self.lock().requests.iter().filter(|request| request.target.starts_with(target)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    // The connections end with the server, so that none outlives its test.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&state)));
    }
}

/// Answers the requests of one connection; an error ends it.
async fn converse(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read_request(&mut stream).await?;
        let reply = state.lock().unwrap().reply(request);
        match reply {
            Reply::Answer { status, headers, body } => {
                let mut answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    answer.extend([name, ": ", &value, "\r\n"]);
                }
                answer.extend(["\r\n", &body]);
                stream.write_all(answer.as_bytes()).await.ok()?;
            }
            Reply::BreakOff => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"items\":[").await.ok()?;
                return None;
            }
            Reply::Reset => {
                stream.into_inner().set_zero_linger().ok()?;
                return None;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines.first()?.split(' ');
    let (method, address) = (words.next()?, words.next()?);
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let headers: HashMap<_, _> = lines.iter().skip(1).filter_map(|line| line.split_once(": ")).collect();
    let headers: HashMap<String, String> =
        headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let mut body = vec![0; headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    Some(Recorded { target: format!("{method} {path}"), query: query.to_owned(), headers, body })
}

impl State {
    fn reply(&mut self, request: Recorded) -> Reply {
        let scripted = self.scripts.get_mut(&request.target).and_then(VecDeque::pop_front);
        let reply = scripted.or_else(|| self.by_prefix(&request.target)).unwrap_or_else(|| self.healthy(&request));
        self.requests.push(request);
        reply
    }

    fn by_prefix(&mut self, target: &str) -> Option<Reply> {
        let open = |(times, prefix, _): &&mut (usize, String, Reply)| *times > 0 && target.starts_with(prefix.as_str());
        let (times, _, reply) = self.prefixes.iter_mut().find(open)?;
        *times -= 1;
        Some(reply.clone())
    }

    fn healthy(&mut self, request: &Recorded) -> Reply {
        let (method, path) = request.target.split_once(" /").unwrap();
        match (method, path) {
            ("GET", "") => Reply::json(200, &json!({ "version": { "number": "3.9.0", "distribution": "opensearch" } })),
            ("GET", "_cluster/settings") => {
                Reply::json(200, &json!({ "defaults": { "cluster": { "max_shards_per_node": "1000" } } }))
            }
            ("GET", path) if path.starts_with("_cluster/health") => Reply::json(
                200,
                &json!({ "active_shards": 1, "initializing_shards": 0,
                "unassigned_shards": 0, "number_of_data_nodes": 1 }),
            ),
            ("POST", "_bulk") => bulk(&request.body),
            ("POST", "_mget") => {
                let asked: Value = serde_json::from_slice(&request.body).unwrap();
                let found = asked["docs"].as_array().unwrap().iter().map(|_| json!({ "_id": "1", "found": true }));
                Reply::json(200, &json!({ "docs": found.collect::<Vec<_>>() }))
            }
            ("GET", path) if path.starts_with("_index_template/") => {
                let found = self.templates.iter();
                let list: Vec<_> = found.map(|(name, body)| json!({ "name": name, "index_template": body })).collect();
                Reply::json(200, &json!({ "index_templates": list }))
            }
            ("PUT", path) => {
                if let Some(name) = path.strip_prefix("_index_template/") {
                    self.templates.insert(name.into(), serde_json::from_slice(&request.body).unwrap());
                } else {
                    self.indices.insert(path.to_owned());
                }
                Reply::json(200, &json!({ "acknowledged": true }))
            }
            ("GET", path) if path.ends_with("-*/_mapping") => Reply::json(200, &json!({})),
            ("GET", path) => match path.strip_suffix("/_mapping") {
                Some(index) if self.indices.contains(index) => {
                    Reply::json(200, &json!({ index: { "mappings": { "_meta": { "difylog": { "version": 2 } } } } }))
                }
                _ => Reply::json(404, &json!({ "error": { "type": "index_not_found_exception", "reason": "" } })),
            },
            _ => Reply::text(405, "unexpected"),
        }
    }
}

/// Every action is stored.
fn bulk(body: &[u8]) -> Reply {
    let lines = body.split(|byte| *byte == b'\n').step_by(2).filter(|line| !line.is_empty());
    let item = |line: &[u8]| {
        let action: serde_json::Map<String, Value> = serde_json::from_slice(line).unwrap();
        let operation = action.keys().next().unwrap().clone();
        json!({ operation: { "status": 201 } })
    };
    Reply::json(200, &json!({ "items": lines.map(item).collect::<Vec<_>>() }))
}
