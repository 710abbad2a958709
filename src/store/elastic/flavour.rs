//! Which product and version answers, and whether difylog runs on it. Differences between engines live here only;
//! today there are none beyond this list: every request of the store means the same on all of them.

use std::fmt;

use serde::Deserialize;

use super::hosts::{EngineAnswer, EngineRequest, Hosts, Method};
use crate::domain::{FaultKind, SinkFault};
use crate::store::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Elasticsearch,
    OpenSearch,
}

/// A product and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flavour {
    product: Product,
    number: String,
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.product {
            Product::Elasticsearch => "Elasticsearch",
            Product::OpenSearch => "OpenSearch",
        };
        write!(f, "{product} {}", self.number)
    }
}

impl Flavour {
    /// Asks the server who it is; refuses what difylog does not run on.
    pub(super) async fn detect(hosts: &Hosts) -> Result<Self, StoreError> {
        let answer = hosts.send(&EngineRequest::new(Method::Get, "/")).await?;
        let flavour = Self::read(&answer).map_err(|fault| match fault.kind {
            // The address is that of another server, or of another path of it.
            FaultKind::Malformed => StoreError::Corrupt(format!(
                "no engine answers at store.elastic.hosts ({}): is it the right port, and is a path missing there, or one \
                 too many?",
                fault.detail
            )),
            _ => StoreError::from(fault),
        })?;
        if flavour.is_supported() {
            return Ok(flavour);
        }
        let hint = "supported are Elasticsearch 7.17, 8 and 9, OpenSearch 2 and 3 (an OpenSearch that says it is \
                    Elasticsearch 7.10 has compatibility.override_main_response_version set)";
        Err(StoreError::Corrupt(format!("the server is {flavour}; {hint}")))
    }

    fn read(answer: &EngineAnswer) -> Result<Self, SinkFault> {
        #[derive(Deserialize)]
        struct Root {
            version: Version,
        }
        #[derive(Deserialize)]
        struct Version {
            number: String,
            distribution: Option<String>,
        }
        let Root { version } = answer.json()?;
        let product = match version.distribution.as_deref() {
            Some("opensearch") => Product::OpenSearch,
            _ => Product::Elasticsearch,
        };
        Ok(Self { product, number: version.number })
    }

    fn is_supported(&self) -> bool {
        let mut parts = self.number.split('.').map(|part| part.parse::<u32>().ok());
        let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
            return false;
        };
        match self.product {
            Product::Elasticsearch => matches!((major, minor), (7, 17..) | (8..=9, _)),
            Product::OpenSearch => matches!(major, 2..=3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: &str) -> Flavour {
        let body = format!(r#"{{"name":"n","version":{version},"tagline":"t"}}"#).into();
        Flavour::read(&EngineAnswer { status: 200, retry_after: None, body, target: String::new() }).unwrap()
    }

    #[test]
    fn knows_what_it_runs_on() {
        for (version, name, supported) in [
            (r#"{"number":"7.17.28"}"#, "Elasticsearch 7.17.28", true),
            (r#"{"number":"8.19.0","build_flavor":"default"}"#, "Elasticsearch 8.19.0", true),
            (r#"{"number":"9.5.3"}"#, "Elasticsearch 9.5.3", true),
            (r#"{"number":"2.19.6","distribution":"opensearch"}"#, "OpenSearch 2.19.6", true),
            (r#"{"number":"3.9.0","distribution":"opensearch"}"#, "OpenSearch 3.9.0", true),
            (r#"{"number":"7.10.2"}"#, "Elasticsearch 7.10.2", false),
            (r#"{"number":"6.8.0"}"#, "Elasticsearch 6.8.0", false),
            (r#"{"number":"1.3.0","distribution":"opensearch"}"#, "OpenSearch 1.3.0", false),
            (r#"{"number":"next"}"#, "Elasticsearch next", false),
        ] {
            let flavour = read(version);
            assert_eq!((flavour.to_string().as_str(), flavour.is_supported()), (name, supported));
        }
    }
}
