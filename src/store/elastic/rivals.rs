//! Index templates of others that match difylog's indices and win over its own: which, and what that means. It changes
//! nothing.
//!
//! An engine takes the one composable template of the greatest priority. difylog creates its indices with their whole
//! shape, so a plain template above its own only adds to them; one for data streams makes the engine refuse to create them.

use serde::Deserialize;

use super::hosts::{EngineRequest, Hosts, Method};
use super::names::{Family, IndexNames, IndexPlace};
use super::settings::{ElasticSettings, Tenancy};
use crate::domain::{Month, SinkFault, TenantId};

/// A template that wins, or ties, which the engines refuse to set up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rival {
    name: String,
    patterns: Vec<String>,
    priority: u64,
    own_priority: u64,
    /// The pattern of difylog's that it matches.
    of: String,
    is_for_data_streams: bool,
}

impl Rival {
    /// Returns whether difylog cannot be set up, or cannot write, beside it.
    pub(super) const fn is_in_the_way(&self) -> bool {
        self.is_for_data_streams || self.priority == self.own_priority
    }

    /// Returns what is wrong, and what to do.
    pub(super) fn words(&self) -> String {
        let Self { name, priority, own_priority, of, .. } = self;
        let patterns = self.patterns.join(", ");
        let effect = if self.is_for_data_streams {
            "it is for data streams, so that the engine refuses to create difylog's indices"
        } else if priority == own_priority {
            "the engine takes no two of the same priority"
        } else {
            "what it sets is added to difylog's indices"
        };
        format!(
            "index template {name} (priority {priority}, patterns {patterns}) wins over difylog's (priority {own_priority}) \
             for {of}: {effect}; raise store.elastic.template_priority above {priority} and run `difylog setup`, or change \
             that template"
        )
    }
}

#[derive(Deserialize)]
struct Templates {
    #[serde(default)]
    index_templates: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    index_template: Template,
}

#[derive(Deserialize)]
struct Template {
    #[serde(default)]
    index_patterns: Vec<String>,
    #[serde(default)]
    priority: Option<u64>,
    data_stream: Option<serde::de::IgnoredAny>,
}

/// Finds them, the greatest priority first. One request; none is found where listing all templates is not allowed.
pub(super) async fn find(
    hosts: &Hosts,
    names: &IndexNames,
    settings: &ElasticSettings,
) -> Result<Vec<Rival>, SinkFault> {
    let shown = "index_templates.name,index_templates.index_template.index_patterns,\
                 index_templates.index_template.priority,index_templates.index_template.data_stream";
    let query = [("filter_path", shown)];
    let answer = hosts.send(&EngineRequest::new(Method::Get, "/_index_template").query(&query)).await?;
    if matches!(answer.status, 401 | 403 | 404) {
        return Ok(Vec::new());
    }
    Ok(among(answer.json()?, names, settings))
}

fn among(Templates { index_templates }: Templates, names: &IndexNames, settings: &ElasticSettings) -> Vec<Rival> {
    let own: Vec<_> = Family::ALL.into_iter().map(|family| names.template(family)).collect();
    let mut rivals = Vec::new();
    for Named { name, index_template } in index_templates {
        let priority = index_template.priority.unwrap_or(0);
        if own.contains(&name) || priority < settings.template_priority {
            continue;
        }
        let is_matched = |family: &Family| {
            let indices = samples(*family, names, settings);
            indices.iter().any(|index| index_template.index_patterns.iter().any(|pattern| matches(pattern, index)))
        };
        if let Some(family) = Family::ALL.into_iter().find(is_matched) {
            rivals.push(Rival {
                name,
                patterns: index_template.index_patterns,
                priority,
                own_priority: settings.template_priority,
                of: names.pattern(family),
                is_for_data_streams: index_template.data_stream.is_some(),
            });
        }
    }
    rivals.sort_by_key(|rival| std::cmp::Reverse(rival.priority));
    rivals
}

/// Names as the settings make them, of a month and a tenant like any other.
fn samples(family: Family, names: &IndexNames, settings: &ElasticSettings) -> Vec<String> {
    let Ok(month) = Month::new(2026, 11) else { return Vec::new() };
    let tenant = TenantId::new(uuid::Uuid::from_u128(0x0f0e_0d0c_0b0a_4908_8706_0504_0302_0100));
    let own = names.index(IndexPlace { family, tenant: Some(tenant), month });
    let shared = names.index(IndexPlace { family, tenant: None, month });
    match settings.tenancy {
        Tenancy::Dedicated => vec![own],
        Tenancy::Shared if settings.dedicated_tenants.is_empty() => vec![shared],
        Tenancy::Shared => vec![own, shared],
    }
}

/// Returns whether a pattern, in which `*` stands for any text, matches a name.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name) in [("*", "a"), ("a", "a"), ("a*", "abc"), ("*c", "abc"), ("a*b*c", "axbyc"), ("a**", "ab")]
        {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a", "ab"), ("b*", "abc"), ("*b", "abc"), ("a*x*c", "abc"), ("", "a"), ("ab*bc", "abc")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    fn found(template: &serde_json::Value) -> Vec<Rival> {
        let settings = ElasticSettings::default();
        let list = json!({ "index_templates": [{ "name": "house", "index_template": template }] });
        among(serde_json::from_value(list).unwrap(), &IndexNames::new(&settings), &settings)
    }

    #[test]
    fn a_template_that_wins_is_named_with_what_it_does() {
        let [rival] = &found(&json!({ "index_patterns": ["dify-*"], "priority": 900, "data_stream": {} }))[..] else {
            panic!()
        };
        assert!(rival.is_in_the_way());
        for word in ["house", "900", "500", "dify-*", "data streams", "template_priority"] {
            assert!(rival.words().contains(word), "{}", rival.words());
        }
        assert!(found(&json!({ "index_patterns": ["*"], "priority": 500 }))[0].is_in_the_way());
        assert!(!found(&json!({ "index_patterns": ["*"], "priority": 501 }))[0].is_in_the_way());
    }

    #[test]
    fn a_template_below_or_beside_is_none() {
        for template in [
            json!({ "index_patterns": ["*"], "priority": 499 }),
            json!({ "index_patterns": ["*"] }),
            json!({ "index_patterns": ["logs-*", "dify-2*"], "priority": 900 }),
        ] {
            assert_eq!(found(&template), [], "{template}");
        }
    }
}
