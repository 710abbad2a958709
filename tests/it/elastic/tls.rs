//! TLS: a private authority is trusted by its file only, and verification can be switched off. The certificates in
//! `tls/` are for tests, valid for a hundred years.

use std::path::PathBuf;
use std::sync::Arc;

use difylog::domain::FaultKind;
use difylog::store::BulkSink as _;
use difylog::store::elastic::{ElasticSettings, ElasticStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::elastic::app_logs;
use crate::support::scripted_engine::ScriptedEngine;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/elastic/tls").join(name)
}

/// A TLS front before an engine: its URL, and the task that serves it.
async fn tls_front(engine: &ScriptedEngine) -> (String, JoinHandle<()>) {
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server_key.pem")).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let behind = engine.url.trim_start_matches("http://").to_owned();
    let server = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            connections.spawn(async move {
                let mut outer = acceptor.accept(stream).await.ok()?;
                let mut inner = TcpStream::connect(behind).await.ok()?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await.ok()
            });
        }
    });
    (url, server)
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_its_file_only() {
    let engine = ScriptedEngine::start().await;
    let (url, server) = tls_front(&engine).await;
    let settings = ElasticSettings { hosts: vec![url], ..ElasticSettings::default() };
    let apply = async |settings: ElasticSettings| ElasticStore::new(settings).unwrap().apply(&app_logs(1)).await;

    let fault = apply(settings.clone()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unreachable);
    assert!(fault.detail.contains("certificate"), "{}", fault.detail);
    assert!(engine.requests("").is_empty(), "nothing was sent, no password either");

    assert!(apply(ElasticSettings { ca_cert: Some(file("authority.pem")), ..settings.clone() }).await.is_ok());
    assert!(apply(ElasticSettings { verify_certs: false, ..settings }).await.is_ok());
    server.abort();
}

#[test]
fn an_authority_that_cannot_be_read_is_named_by_its_key() {
    for name in ["missing.pem", "../golden/run_shared.ndjson"] {
        let settings = ElasticSettings { ca_cert: Some(file(name)), ..ElasticSettings::default() };
        assert_eq!(ElasticStore::new(settings).err().map(|error| error.key), Some("ca_cert"), "{name}");
    }
}
