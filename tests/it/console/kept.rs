//! Connections that are kept: a server closes one that rests, and may do so while a request is on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::console::place::{Place, eventually};
use crate::support::records;

/// Requests that came over a connection which had served one already, and were not answered, by their methods.
#[derive(Default)]
struct Lost {
    gets: AtomicUsize,
    posts: AtomicUsize,
    all: AtomicUsize,
}

/// Reads a head; `None` at the end.
async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok().filter(|read| *read > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        if line.trim_end().is_empty() {
            return Some(first);
        }
    }
}

/// Answers the first request of each connection, keeps it, and closes it when it has read a second one.
async fn forgetful(stream: TcpStream, lost: Arc<Lost>) {
    let mut stream = BufReader::new(stream);
    let Some(_) = line(&mut stream).await else { return };
    lost.all.fetch_add(1, Ordering::Relaxed);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}";
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    if let Some(second) = line(&mut stream).await {
        lost.all.fetch_add(1, Ordering::Relaxed);
        let of = if second.starts_with("GET ") { &lost.gets } else { &lost.posts };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_get_over_a_connection_that_dify_has_closed_is_sent_once_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let lost = Arc::new(Lost::default());
    let of_server = Arc::clone(&lost);
    let server = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(forgetful(stream, Arc::clone(&of_server)));
        }
    });
    let place = Place::before(url).await;
    let path = format!("/console/api/apps/{}/workflows/draft", records::app());
    // Connections that rest too long are not used again: until one was.
    eventually(async || {
        let answer = place.ask("anna", &path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "{}"));
        lost.gets.load(Ordering::Relaxed) > 3
    })
    .await;
    // Nobody knows whether one that changes something was done.
    eventually(async || {
        assert_eq!(place.ask("anna", &path).await.status, 200);
        let all = lost.all.load(Ordering::Relaxed);
        let answer = place.request("POST", "anna", &path, "").await;
        let once = lost.all.load(Ordering::Relaxed);
        assert_eq!(once, all + 1, "sent more than once: {answer:?}");
        assert!([200, 502].contains(&answer.status), "{answer:?}");
        lost.posts.load(Ordering::Relaxed) > 0
    })
    .await;
    server.abort();
}
