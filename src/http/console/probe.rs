//! Whether what `serve.dify.url` names answers as Dify's API server does, for `difylog check`.

use axum::http::StatusCode;
use serde::Deserialize;

use super::settings::ConsoleSettings;
use super::upstream::{Credentials, Raw, Upstream, UpstreamFault};
use super::version::HEADER;

/// A path that Dify refuses to whoever has not signed in.
const PATH: &str = "/console/api/workspaces";
const ADVICE: &str = "url must name Dify's API server (`api` in its docker-compose), not its web server or a proxy";

#[derive(Deserialize)]
struct Refusal {
    code: String,
}

/// Asks Dify something without credentials, which it refuses in its own words. Returns its version, where it tells one.
///
/// # Errors
/// Settings that cannot be used, no answer within `answer_ms`, or another one than Dify's: what it was, and what to do.
pub async fn probe(settings: &ConsoleSettings) -> Result<Option<String>, String> {
    settings.validate()?;
    let dify = Upstream::new(settings)?;
    let asked = tokio::time::timeout(settings.answer(), dify.get(PATH, &Credentials::none())).await;
    let raw = match asked {
        Ok(Ok(raw)) => raw,
        Ok(Err(fault)) => return Err(format!("{fault}; check url, and that Dify's API server runs")),
        Err(_) => return Err("Dify did not answer within answer_ms; check url, and Dify's API server".to_owned()),
    };
    if is_refusal(&raw) {
        let version = raw.headers.get(HEADER).and_then(|value| value.to_str().ok());
        return Ok(version.map(str::to_owned));
    }
    Err(format!("what answers there is not Dify's API server (status {}); {ADVICE}", raw.status.as_u16()))
}

fn is_refusal(raw: &Raw) -> bool {
    let found: Result<Refusal, UpstreamFault> = raw.content();
    raw.status == StatusCode::UNAUTHORIZED && found.is_ok_and(|refusal| !refusal.code.is_empty())
}
