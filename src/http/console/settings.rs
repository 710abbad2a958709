//! The section `serve.dify` of the configuration.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

/// Which Dify the bridge stands before, and how long it waits for it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleSettings {
    /// Base URL of Dify's API server as this process reaches it, such as `http://api:5001`.
    pub url: String,
    /// Longest time for an answer of our own, in milliseconds; after it the request goes to Dify.
    #[serde(default = "answer_ms")]
    pub answer_ms: u64,
    /// Dify's own `CONSOLE_API_URL`, which the addresses of plugins' icons begin with. Without it they are paths, as Dify
    /// makes them where its variable is empty.
    #[serde(default)]
    pub console_api_url: Option<String>,
    /// How long Dify's word on who may read an app is kept, in seconds, 0 to 60. 0 asks for each request.
    #[serde(default = "trust_seconds")]
    pub trust_seconds: u64,
    /// Longest time for Dify to begin its answer to a request that is passed on, and for that one's body to come, in
    /// seconds.
    #[serde(default = "pass_seconds")]
    pub pass_seconds: u64,
}

const fn answer_ms() -> u64 {
    2_000
}

const fn trust_seconds() -> u64 {
    60
}

const fn pass_seconds() -> u64 {
    120
}

impl ConsoleSettings {
    /// Checks what needs no connection.
    ///
    /// # Errors
    /// The first broken rule, with the name of its key below `serve.dify`.
    pub fn validate(&self) -> Result<(), String> {
        self.base()?;
        self.icons()?;
        if !(100..=60_000).contains(&self.answer_ms) {
            return Err("answer_ms must be 100 to 60000".to_owned());
        }
        if self.trust_seconds > 60 {
            return Err("trust_seconds must be 0 to 60".to_owned());
        }
        if !(1..=3600).contains(&self.pass_seconds) {
            return Err("pass_seconds must be 1 to 3600".to_owned());
        }
        Ok(())
    }

    /// Returns the URL that Dify's paths are put behind.
    ///
    /// # Errors
    /// As [`Self::validate`]. The text does not repeat the URL, which may hold a password.
    pub(super) fn base(&self) -> Result<Url, String> {
        let url: Url = self.url.parse().map_err(|error| format!("url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("url must begin with http:// or https:// and name a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url must not hold credentials: Dify is asked with those of the caller".to_owned());
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err("url must end after the port: paths are Dify's own".to_owned());
        }
        Ok(url)
    }

    /// Returns the address of plugins' icons, without parameters.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub(super) fn icons(&self) -> Result<String, String> {
        const PATH: &str = "/console/api/workspaces/current/plugin/icon";
        let Some(text) = &self.console_api_url else { return Ok(PATH.to_owned()) };
        let url: Url = text.parse().map_err(|error| format!("console_api_url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("console_api_url must begin with http:// or https:// and name a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return Err("console_api_url must hold neither credentials nor parameters".to_owned());
        }
        Ok(format!("{}{PATH}", url.as_str().trim_end_matches('/')))
    }

    pub(super) const fn answer(&self) -> Duration {
        Duration::from_millis(self.answer_ms)
    }

    pub(super) const fn trust(&self) -> Duration {
        Duration::from_secs(self.trust_seconds)
    }

    pub(super) const fn pass(&self) -> Duration {
        Duration::from_secs(self.pass_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn icons(console_api_url: Option<&str>) -> Result<String, String> {
        let given = serde_json::json!({ "url": "http://api:5001", "console_api_url": console_api_url });
        serde_json::from_value::<ConsoleSettings>(given).unwrap().icons()
    }

    #[test]
    fn icons_have_the_address_that_dify_gives_them() {
        let path = "/console/api/workspaces/current/plugin/icon";
        assert_eq!(icons(None).as_deref(), Ok(path));
        for (url, expected) in [
            ("https://dify.example", format!("https://dify.example{path}")),
            ("https://dify.example/", format!("https://dify.example{path}")),
            ("http://dify.example:8080/base", format!("http://dify.example:8080/base{path}")),
        ] {
            assert_eq!(icons(Some(url)), Ok(expected));
        }
        for url in ["", "dify.example", "ftp://dify.example", "https://u:p@dify.example", "https://dify.example?a=b"] {
            let problem = icons(Some(url)).unwrap_err();
            assert!(problem.starts_with("console_api_url") && !problem.contains("u:p"), "{problem}");
        }
    }
}
