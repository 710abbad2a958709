//! Setting up, checking and counting: the calls that cross tenants. It writes no documents.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{Catalog, LENIENT, list};
use super::flavour::Flavour;
use super::hosts::{EngineAnswer, EngineRequest, Hosts, Method};
use super::indices::mapping_versions;
use super::names::{Family, IndexNames, IndexPlace};
use super::reason::Words;
use super::rivals::{self, Rival};
use super::search::{EngineReader, LENIENT_COUNT};
use super::settings::ElasticSettings;
use super::state;
use super::templates::{self, VERSION};
use crate::domain::query::MonthCount;
use crate::domain::{FaultKind, Month, SinkFault};
use crate::store::StoreError;

/// What an engine says of an index that is there already.
const ALREADY_EXISTS: &str = "resource_already_exists_exception";

/// What administration needs of the store.
pub(super) struct Admin<'a> {
    pub(super) hosts: &'a Hosts,
    pub(super) names: &'a IndexNames,
    pub(super) catalog: &'a Catalog,
    pub(super) settings: &'a ElasticSettings,
}

/// A template as it was found, beside what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Current,
    Missing,
    Older(u64),
    Newer(u64),
    /// Of this version, but with other patterns or mappings: somebody edited it.
    Edited,
    /// Only the settings of new indices differ: the configuration changed since the set-up.
    OtherSettings,
}

impl Admin<'_> {
    pub(super) async fn install(&self) -> Result<Vec<String>, StoreError> {
        let mut lines = vec![Flavour::detect(self.hosts).await?.to_string()];
        self.heed_rivals(&mut lines).await?;
        let found = self.templates().await?;
        for family in Family::ALL {
            let name = self.names.template(family);
            let what = match self.compare(family, found.get(&name)) {
                Found::Newer(version) => return Err(newer(&name, version)),
                Found::Current => "is current",
                Found::Missing => self.put_template(family, "installed").await?,
                Found::Older(_) => self.put_template(family, "upgraded").await?,
                Found::Edited | Found::OtherSettings => self.put_template(family, "set again").await?,
            };
            lines.push(format!("template {name} version {VERSION} {what}"));
        }
        if self.create_state_index().await? {
            lines.push(format!("index {} created", self.names.state()));
        }
        let lagging = self.lagging().await?;
        for place in &lagging {
            let path = format!("/{}/_mapping", self.names.index(*place));
            let request = EngineRequest::new(Method::Put, &path).json(&templates::mapping(place.family));
            self.hosts.send(&request).await?.success()?;
            let path = format!("/{}/_settings", self.names.index(*place));
            let settings = json!({ "index": { "gc_deletes": templates::GC_DELETES } });
            self.hosts.send(&EngineRequest::new(Method::Put, &path).json(&settings)).await?.success()?;
        }
        if !lagging.is_empty() {
            lines.push(format!("mappings of {} existing indices brought to version {VERSION}", lagging.len()));
        }
        Ok(lines)
    }

    pub(super) async fn check(&self) -> Result<Vec<String>, StoreError> {
        let mut lines = vec![Flavour::detect(self.hosts).await?.to_string()];
        self.heed_rivals(&mut lines).await?;
        let mut problems = Vec::new();
        let found = self.templates().await?;
        for family in Family::ALL {
            let name = self.names.template(family);
            match self.compare(family, found.get(&name)) {
                Found::Newer(version) => return Err(newer(&name, version)),
                Found::Current => lines.push(format!("template {name} version {VERSION} is current")),
                Found::OtherSettings => lines.push(format!(
                    "template {name} has other index settings than the configuration; `difylog setup` changes that"
                )),
                Found::Missing => problems.push(format!("template {name} is missing")),
                Found::Older(version) => problems.push(format!("template {name} has version {version} of {VERSION}")),
                Found::Edited => problems.push(format!("template {name} was edited: its patterns or mappings differ")),
            }
        }
        if !self.has_state_index().await? {
            problems.push(format!("index {} is missing", self.names.state()));
        }
        let lagging = self.lagging().await?.len();
        if lagging > 0 {
            problems.push(format!("{lagging} indices have an older mapping"));
        }
        if problems.is_empty() { Ok(lines) } else { Err(StoreError::NotSetUp(problems.join(", "))) }
    }

    /// Says which templates of others win; one that is in the way is an error.
    async fn heed_rivals(&self, lines: &mut Vec<String>) -> Result<(), StoreError> {
        let rivals = rivals::find(self.hosts, self.names, self.settings).await?;
        let (in_the_way, others): (Vec<_>, Vec<_>) = rivals.into_iter().partition(Rival::is_in_the_way);
        lines.extend(others.iter().map(|rival| format!("note: {}", rival.words())));
        match in_the_way.first() {
            Some(rival) => Err(StoreError::Unavailable(rival.words())),
            None => Ok(()),
        }
    }

    /// Returns whether a request to write could succeed.
    pub(super) async fn probe(&self) -> Result<(), SinkFault> {
        self.ready().await
    }

    /// Returns whether the server answers and every template is there in this version or a newer one. One small
    /// request, which reads.
    pub(super) async fn ready(&self) -> Result<(), SinkFault> {
        let path = format!("/_index_template/{}", self.names.everything());
        let query = [("filter_path", "index_templates.name,index_templates.index_template.version")];
        let found = self.read_templates(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
        let lacking = Family::ALL.into_iter().map(|family| self.names.template(family)).find(|name| {
            let version = found.get(name).and_then(|template| template.get("version")).and_then(Value::as_u64);
            version.is_none_or(|version| version < VERSION)
        });
        match lacking {
            None => Ok(()),
            Some(name) => {
                let detail = format!("template {name} is missing or older than version {VERSION}; run `difylog setup`");
                Err(SinkFault::new(FaultKind::NotSetUp, detail))
            }
        }
    }

    pub(super) async fn counts(&self) -> Result<Vec<MonthCount>, StoreError> {
        #[derive(Deserialize)]
        struct Row {
            index: String,
            #[serde(rename = "docs.count")]
            documents: Option<String>,
        }
        // Indices that only an alias makes ours are told by their own names.
        list(self.hosts, self.names, &self.names.everything(), &LENIENT).await?;
        let path = format!("/_cat/indices/{}", self.names.everything());
        let query = [("format", "json"), ("h", "index,docs.count"), ("expand_wildcards", "open")];
        let rows: Vec<Row> = self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.json()?;
        let tombstones = self.tombstones().await?;
        let mut sums = BTreeMap::<(Month, Family), u64>::new();
        for row in rows {
            if let Some(place) = self.names.parse(&row.index) {
                let all = row.documents.and_then(|count| count.parse::<u64>().ok()).unwrap_or(0);
                let documents = all.saturating_sub(tombstones.get(&row.index).copied().unwrap_or(0));
                *sums.entry((place.month, place.family)).or_default() += documents;
            }
        }
        let count = |((month, family), documents): ((Month, Family), u64)| MonthCount {
            month,
            kind: family.as_str(),
            documents,
        };
        Ok(sums.into_iter().map(count).collect())
    }

    /// Tombstones per index; indices without any are left out.
    async fn tombstones(&self) -> Result<HashMap<String, u64>, SinkFault> {
        #[derive(Deserialize)]
        struct Answered {
            // Absent where no index matches.
            aggregations: Option<Aggregations>,
        }
        #[derive(Deserialize)]
        struct Aggregations {
            indices: Buckets,
        }
        #[derive(Deserialize)]
        struct Buckets {
            buckets: Vec<Bucket>,
        }
        #[derive(Deserialize)]
        struct Bucket {
            key: String,
            doc_count: u64,
        }
        let query = json!({
            "size": 0,
            "query": { "exists": { "field": "erased_at" } },
            "aggs": { "indices": { "terms": { "field": "_index", "size": 10_000 } } },
        });
        let path = format!("/{}/_search", self.names.everything());
        let request = EngineRequest::new(Method::Post, &path).query(&LENIENT_COUNT).json(&query);
        let reader =
            EngineReader { hosts: self.hosts, names: self.names, catalog: self.catalog, search: self.settings.search };
        let answered: Answered = reader.read(&request, EngineAnswer::json).await?;
        let buckets = answered.aggregations.map(|found| found.indices.buckets).unwrap_or_default();
        Ok(buckets.into_iter().map(|bucket| (bucket.key, bucket.doc_count)).collect())
    }

    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let path = format!("/{}/_refresh", self.names.everything());
        Ok(self.hosts.send(&EngineRequest::new(Method::Post, &path).query(&LENIENT)).await?.of_all_shards()?)
    }

    async fn has_state_index(&self) -> Result<bool, SinkFault> {
        let path = format!("/{}/_mapping", self.names.state());
        let query = [("filter_path", "*.mappings._meta")];
        let answer = self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
        if answer.status == 404 { Ok(false) } else { answer.success().map(|()| true) }
    }

    /// Returns whether it was missing. The index can be used when it answers.
    async fn create_state_index(&self) -> Result<bool, SinkFault> {
        let was_missing = !self.has_state_index().await?;
        if was_missing {
            let path = format!("/{}", self.names.state());
            let body = state::index(self.settings.replicas);
            let answer = self.hosts.send(&EngineRequest::new(Method::Put, &path).json(&body)).await?;
            let is_there = answer.status == 400 && Words::of_answer(&answer.body).kind == ALREADY_EXISTS;
            if !is_there {
                answer.success()?;
            }
        }
        // Another process may have created it a moment ago. (A status is no answer: a new index is yellow at once.)
        let path = format!("/_cluster/health/{}", self.names.state());
        let query = [("wait_for_active_shards", "1"), ("timeout", "20s")];
        self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?.success()?;
        Ok(was_missing)
    }

    /// Returns every template of the prefix, by name.
    async fn templates(&self) -> Result<HashMap<String, Value>, SinkFault> {
        let path = format!("/_index_template/{}", self.names.everything());
        self.read_templates(&EngineRequest::new(Method::Get, &path)).await
    }

    async fn read_templates(&self, request: &EngineRequest<'_>) -> Result<HashMap<String, Value>, SinkFault> {
        #[derive(Deserialize)]
        struct Templates {
            #[serde(default)]
            index_templates: Vec<Named>,
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
            index_template: Value,
        }
        let answer = self.hosts.send(request).await?;
        if answer.status == 404 {
            return Ok(HashMap::new());
        }
        let Templates { index_templates } = answer.json()?;
        Ok(index_templates.into_iter().map(|named| (named.name, named.index_template)).collect())
    }

    fn compare(&self, family: Family, found: Option<&Value>) -> Found {
        let Some(found) = found else { return Found::Missing };
        let wanted = templates::template(family, self.names, self.settings);
        let same = |pointer| found.pointer(pointer) == wanted.pointer(pointer);
        match found.get("version").and_then(Value::as_u64) {
            Some(version) if version > VERSION => Found::Newer(version),
            Some(VERSION) if !same("/index_patterns") || !same("/template/mappings") => Found::Edited,
            Some(VERSION) if !same("/template/settings") || !same("/priority") => Found::OtherSettings,
            Some(VERSION) => Found::Current,
            older => Found::Older(older.unwrap_or(0)),
        }
    }

    async fn put_template(&self, family: Family, done: &'static str) -> Result<&'static str, StoreError> {
        let path = format!("/_index_template/{}", self.names.template(family));
        let body = templates::template(family, self.names, self.settings);
        self.hosts.send(&EngineRequest::new(Method::Put, &path).json(&body)).await?.success()?;
        Ok(done)
    }

    /// Our indices whose mapping is of an older version.
    async fn lagging(&self) -> Result<Vec<IndexPlace>, StoreError> {
        let path = format!("/{}/_mapping", self.names.everything());
        let query = [LENIENT.as_slice(), &[("filter_path", "*.mappings._meta")]].concat();
        let answer = self.hosts.send(&EngineRequest::new(Method::Get, &path).query(&query)).await?;
        let versions = mapping_versions(&answer)?;
        let older = versions.into_iter().filter(|(_, version)| *version < VERSION);
        let mut places: Vec<_> = older.filter_map(|(index, _)| self.names.parse(&index)).collect();
        places.sort_unstable();
        Ok(places)
    }
}

fn newer(name: &str, version: u64) -> StoreError {
    StoreError::Corrupt(format!("template {name} has version {version}, this difylog knows {VERSION}: upgrade difylog"))
}
