//! Who looks at a page, and how: the signed-in key, language, colours and time zone. All of it is in the request.

use std::convert::Infallible;
use std::str::FromStr as _;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use chrono_tz::Tz;
use percent_encoding::percent_decode_str;

use super::i18n::{Lang, PageTexts};

/// The colours of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub(super) const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(super) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.code() == code)
    }
}

/// How a viewer likes the pages: cookies that hold no secret, else what the browser says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub lang: Lang,
    pub theme: Theme,
    /// What the browser has said, if it is a zone that is known here; else UTC.
    pub zone: Tz,
}

impl Look {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let zone = cookie(headers, "tz").and_then(|name| percent_decode_str(name).decode_utf8().ok());
        Self {
            lang: cookie(headers, "lang").and_then(Lang::of_code).unwrap_or_else(|| Lang::accepted(accepted)),
            theme: cookie(headers, "theme").and_then(Theme::of_code).unwrap_or(Theme::Auto),
            zone: zone.and_then(|name| Tz::from_str(&name).ok()).unwrap_or(Tz::UTC),
        }
    }

    pub(super) const fn texts(self) -> &'static PageTexts {
        self.lang.texts()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Look {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// Returns the value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn cookies_say_how_the_pages_look() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("zh-CN"));
        let look = Look::of(&headers);
        assert_eq!((look.lang, look.theme, look.zone), (Lang::Zh, Theme::Auto, Tz::UTC));
        headers.insert(header::COOKIE, HeaderValue::from_static("xlang=zh; lang=en; theme=dark; tz=Asia%2FShanghai"));
        let look = Look::of(&headers);
        assert_eq!((look.lang, look.theme, look.zone), (Lang::En, Theme::Dark, Tz::Asia__Shanghai));
        headers.insert(header::COOKIE, HeaderValue::from_static("tz=Etc%2FGMT%2B8"));
        assert_eq!(Look::of(&headers).zone, Tz::Etc__GMTPlus8);
        headers.insert(header::COOKIE, HeaderValue::from_static("lang=; theme=<b>; tz=../../etc"));
        let look = Look::of(&headers);
        assert_eq!((look.lang, look.theme, look.zone), (Lang::Zh, Theme::Auto, Tz::UTC));
    }
}
