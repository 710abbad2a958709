//! The pages' own files: one stylesheet, one script and an icon, in the program. Their addresses hold a hash of their
//! content, so that a browser keeps them for good and never shows an old one with a new page.

use std::sync::LazyLock;

use axum::extract::{Path, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use crate::domain::document::ContentHash;

/// One file.
pub(super) struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
    hash: String,
}

impl Asset {
    fn new(name: &'static str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let hash = ContentHash::new(digest.into()).to_string().chars().take(16).collect();
        Self { name, media_type, bytes, hash }
    }

    /// Its address.
    pub(super) fn href(&self) -> String {
        format!("/ui/assets/{}/{}", self.hash, self.name)
    }
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style.css", "text/css; charset=utf-8", include_bytes!("assets/style.css")));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("app.js", "text/javascript; charset=utf-8", include_bytes!("assets/app.js")));
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_bytes!("assets/icon.svg")));

/// Returns a file by its hash and name. One of another version is not found, and not kept.
pub(super) async fn asset(Path((hash, name)): Path<(String, String)>, request: Request) -> Response {
    let known: [&Asset; 3] = [&STYLE, &SCRIPT, &ICON];
    let Some(asset) = known.into_iter().find(|asset| asset.name == name && asset.hash == hash) else {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    };
    let etag = format!("\"{}\"", asset.hash);
    let kept = "public, max-age=31536000, immutable";
    let matches = |value: &axum::http::HeaderValue| value.to_str().is_ok_and(|value| value.contains(&etag));
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(matches) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, etag), (header::CACHE_CONTROL, kept.to_owned())])
            .into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, asset.media_type.to_owned()),
        (header::CACHE_CONTROL, kept.to_owned()),
        (header::ETAG, etag),
    ];
    (headers, asset.bytes).into_response()
}
