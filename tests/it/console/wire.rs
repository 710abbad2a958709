//! What goes to Dify over the wire, and what comes back, byte for byte: a stand-in that goes by nothing but the framing of
//! what it reads, as the servers behind do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::console::place::{Place, eventually};
use crate::support::records;

/// A body that is a request of its own to whoever does not know where it begins.
const BODY: &str = "GET /inner/api/secrets HTTP/1.1\r\nHost: x\r\n\r\n";

/// A request or an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Message {
    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Reads a head; `None` at the end.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<Message> {
    let mut message = Message::default();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        match line.split_once(':') {
            _ if message.line.is_empty() => message.line = line.to_owned(),
            _ if line.is_empty() => return Some(message),
            Some((name, value)) => message.headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
            None => panic!("not a header: {line}"),
        }
    }
}

/// Reads the body of a head as its framing says.
async fn body(stream: &mut BufReader<TcpStream>, message: &mut Message) -> Option<()> {
    let chunked = message.all("transfer-encoding") == ["chunked"];
    let length = message.all("content-length").first().map_or(0, |length| length.parse().unwrap());
    assert!(!chunked || message.all("content-length").is_empty(), "framed twice: {message:?}");
    let mut size = length;
    loop {
        if chunked {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            size = usize::from_str_radix(line.trim(), 16).unwrap();
        }
        let mut bytes = vec![0; size + if chunked { 2 } else { 0 }];
        stream.read_exact(&mut bytes).await.ok()?;
        message.body.push_str(str::from_utf8(&bytes[..size]).unwrap());
        if !chunked || size == 0 {
            return Some(());
        }
    }
}

/// A server that keeps what arrives.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Message>>>);

impl Wire {
    async fn before_a_bridge() -> (Self, Place) {
        let wire = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = wire.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(BufReader::new(stream)));
            }
        });
        (wire, Place::before(url).await)
    }

    async fn serve(self, mut stream: BufReader<TcpStream>) {
        while let Some(mut message) = head(&mut stream).await {
            let is_early = message.line.contains("/early");
            if is_early {
                stream.write_all(answer(&message.line).as_bytes()).await.unwrap();
            }
            if body(&mut stream, &mut message).await.is_none() {
                return;
            }
            let answer = answer(&message.line);
            self.0.lock().unwrap().push(message);
            if !is_early {
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }

    fn take(&self) -> Vec<Message> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn answer(line: &str) -> String {
    let (method, path) = line.split_once(' ').unwrap();
    let (status, rest) = match path.split_whitespace().next().unwrap().rsplit_once('/').unwrap().1 {
        "204" => ("204 No Content", "\r\n".to_owned()),
        "304" => ("304 Not Modified", "Content-Length: 5\r\n\r\n".to_owned()),
        "chunked" => ("200 OK", "Transfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n".to_owned()),
        _ => ("200 OK", "Content-Length: 5\r\n\r\nwhole".to_owned()),
    };
    let rest = if method == "HEAD" { "Content-Length: 5\r\n\r\n" } else { &rest };
    format!("HTTP/1.1 {status}\r\nX-Of: dify\r\nConnection: x-hop\r\nX-Hop: 1\r\n{rest}")
}

async fn open(place: &Place, text: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(place.base.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    BufReader::new(stream)
}

/// Sends a request by hand and reads until the server closes.
async fn exchange(place: &Place, text: &str) -> String {
    let mut stream = open(place, text).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await;
    // A reset closes as well.
    let _ = read.unwrap_or_else(|_| panic!("the connection stays open after {text}"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_on_whole_whatever_the_method_and_the_next_request_is_the_next() {
    let (wire, place) = Wire::before_a_bridge().await;
    let app = records::app();
    let chunked = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        for path in [
            format!("/console/api/apps/{app}/workflow-runs?limit=1"),
            format!("/console/api/apps/{app}/workflows/draft"),
            "/v1/workflows/logs".to_owned(),
        ] {
            for (framing, sent) in [
                (format!("Content-Length: {}", BODY.len()), BODY),
                (format!("Content-Length: {}\r\nConnection: content-length", BODY.len()), BODY),
                ("Transfer-Encoding: chunked".to_owned(), &chunked),
                ("Content-Length: 0".to_owned(), ""),
                ("X-None: 1".to_owned(), ""),
            ] {
                let request = format!(
                    "{method} {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nX-Hop: 1\r\nX-Kept: 1\r\n\
                     Connection: close, x-hop\r\n{framing}\r\n\r\n{sent}"
                );
                let answer = exchange(&place, &request).await;
                assert!(answer.contains("HTTP/1.1 200"), "{request}: {answer}");
                let next = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                exchange(&place, &next).await;
                let arrived = wire.take();
                let lines: Vec<_> = arrived.iter().map(|message| message.line.clone()).collect();
                assert_eq!(lines, [format!("{method} {path} HTTP/1.1"), format!("GET {path} HTTP/1.1")], "{request}");
                let expected = if sent.is_empty() { "" } else { BODY };
                assert_eq!(arrived[0].body, expected, "{request}: {arrived:?}");
                for name in ["expect", "x-hop", "connection"] {
                    assert_eq!(arrived[0].all(name), Vec::<&str>::new(), "{request}");
                }
                assert_eq!(arrived[0].all("x-kept"), ["1"], "{request}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_framed_by_its_own_body() {
    let (_, place) = Wire::before_a_bridge().await;
    let app = records::app();
    let mut stream = open(&place, "").await;
    for (method, kind, status, length, text) in [
        ("GET", "204", "HTTP/1.1 204 No Content", None, ""),
        ("HEAD", "plain", "HTTP/1.1 200 OK", Some("5"), ""),
        ("GET", "304", "HTTP/1.1 304 Not Modified", None, ""),
        ("GET", "chunked", "HTTP/1.1 200 OK", None, "whole"),
        ("GET", "plain", "HTTP/1.1 200 OK", Some("5"), "whole"),
    ] {
        let request = format!("{method} /console/api/apps/{app}/{kind} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = head(&mut stream).await.unwrap_or_else(|| panic!("closed before {request}"));
        assert_eq!(
            (answer.line.as_str(), answer.all("content-length").first().copied()),
            (status, length),
            "{request}"
        );
        assert_eq!((answer.all("x-of"), answer.all("x-hop")), (vec!["dify"], vec![]), "{request}");
        if method != "HEAD" && !matches!(kind, "204" | "304") {
            body(&mut stream, &mut answer).await.unwrap();
        }
        assert_eq!(answer.body, text, "{request}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_goes_on_as_it_came_or_not_at_all() {
    let (wire, place) = Wire::before_a_bridge().await;
    let app = format!("/console/api/apps/{}", records::app());
    let ask = async |method: &str, target: &str| {
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\nCookie: access_token=anna\r\nX-CSRF-Token: csrf-anna\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        (exchange(&place, &request).await, wire.take())
    };
    for method in ["GET", "POST"] {
        for target in [
            format!(r"{app}/workflow-runs/..\..\..\..\..\inner\api\invoke\llm"),
            format!(r"{app}/workflows\draft"),
            format!("{app}/workflows%5Cdraft"),
            format!("{app}/workflows/../../../../../inner/api/invoke/llm"),
            format!("{app}/workflows/%2e%2e/%2E%2E/%2e%2E/inner"),
            format!("{app}/workflow-runs/.%2e"),
            format!("{app}/workflow-runs/%2E."),
            format!("{app}/./workflows"),
            format!("{app}/workflows/..%2f..%2F../inner/api"),
            format!("{app}/workflow/statistics/..?start=1"),
            r"/console/api/apps/..\..\..\inner/workflow-runs".to_owned(),
            "/console/api/apps/../workflow-runs".to_owned(),
            r"/v1/workflows/run/..\..\inner".to_owned(),
            "/v1/workflows/run/%2e%2e".to_owned(),
            format!("{app}/workflows/{{x}}"),
        ] {
            let (answer, arrived) = ask(method, &target).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{method} {target}: {answer}");
            assert_eq!(arrived, [], "{method} {target}");
        }
    }
    for target in [
        format!("{app}//workflows//draft"),
        format!("{app}/workflows;v=1/dr;aft"),
        format!("{app}/workflows/a%2Fb%20c%E4"),
        format!("{app}/workflows/a..b/.../..c/~"),
        format!(r"{app}/workflows?q=..\..&p=/../%2e%2e/x|y{{}}^%27+%&&a=;&b"),
        format!("{app}/workflow-runs/count?q=%41&time=1%2d"),
        format!("{app}/workflows?"),
    ] {
        let (answer, arrived) = ask("POST", &target).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        assert_eq!(arrived[0].line, format!("POST {target} HTTP/1.1"));
    }
    // A URL holds some signs of a question by their numbers only; they are read as the same question.
    let (_, arrived) = ask("POST", &format!("{app}/workflows?q=it's")).await;
    assert_eq!(arrived[0].line, format!("POST {app}/workflows?q=it%27s HTTP/1.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_coming_is_given_up() {
    let (wire, place) = Wire::before_a_bridge().await;
    let app = records::app();
    let unfinished = |method: &str, path: &str| {
        format!("{method} /console/api/apps/{app}/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{")
    };
    for (method, path) in [("POST", "workflows/draft"), ("GET", "workflow-runs")] {
        let answer = exchange(&place, &unfinished(method, path)).await;
        assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("serve.dify.pass_seconds"), "{path}: {answer}");
    }
    // Dify may answer before it has read the body, for instance with a refusal.
    let answer = exchange(&place, &unfinished("POST", "early")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(wire.take(), []);
    eventually(async || {
        exchange(&place, &format!("GET /console/api/apps/{app}/x HTTP/1.1\r\nConnection: close\r\nHost: x\r\n\r\n"))
            .await;
        wire.take().len() == 1
    })
    .await;
}
