//! The bridge: Dify's console and its service API ask their own paths here and are answered from the store, in Dify's shapes.
//!
//! Pages of another origin than the API's (a `CONSOLE_API_URL` of its own) are read by a browser only if Dify's headers allow
//! it: their requests are Dify's. Dify decides who may read what ([`access`]), its tables whose key is whose ([`tables`]); nothing is answered without a yes. Whatever cannot be answered in time,
//! rightly and whole goes to Dify as it came ([`upstream`]), so that no page is worse off than without the bridge. Lists of
//! runs and logs are merged with what Dify's PostgreSQL still has ([`merge`] says in which order).

mod access;
mod answer;
mod coverage;
mod detail;
mod logs;
mod memory;
mod merge;
mod pages;
mod probe;
mod query;
mod relay;
mod runs;
mod service;
pub mod settings;
mod tables;
mod totals;
mod upstream;
mod version;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{Method, Uri};
use axum::response::Response;
use axum::routing::any;
use metrics::counter;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use self::access::{Access, Gatekeeper};
use self::answer::PassOnReason;
use self::coverage::Coverage;
use self::logs::Newest;
use self::memory::Memory;
pub use self::probe::probe;
use self::query::Query;
use self::service::ServiceKeys;
use self::settings::ConsoleSettings;
use self::tables::Tables;
use self::upstream::{Credentials, Upstream};
use self::version::Versions;
use super::headers::is_own;
use crate::domain::{AppId, RecordId};
use crate::postgres::Database;
use crate::query::LogService;
use crate::store::ReadStore;
use crate::telemetry::names;

/// Paths of Dify's that are answered here.
const PATHS: [&str; 10] = [
    "/console/api/apps/{app_id}/workflow-runs",
    "/console/api/apps/{app_id}/workflow-runs/count",
    "/console/api/apps/{app_id}/workflow-runs/{run_id}",
    "/console/api/apps/{app_id}/workflow-runs/{run_id}/node-executions",
    "/console/api/apps/{app_id}/advanced-chat/workflow-runs",
    "/console/api/apps/{app_id}/advanced-chat/workflow-runs/count",
    "/console/api/apps/{app_id}/workflow-app-logs",
    "/console/api/apps/{app_id}/workflow/statistics/{statistic}",
    "/v1/workflows/logs",
    "/v1/workflows/run/{run_id}",
];

/// What the bridge is made of.
#[derive(Clone)]
pub struct Bridge(Arc<Parts>);

struct Parts {
    service: LogService,
    settings: ConsoleSettings,
    dify: Upstream,
    gatekeeper: Gatekeeper,
    keys: ServiceKeys,
    tables: Tables,
    coverage: Coverage,
    newest: Newest,
    versions: Versions,
    permits: Arc<Semaphore>,
}

/// How a path tells which app it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Somebody who signed in to the console, about this app.
    Console(AppId),
    /// Whoever has the key of an app, about that one.
    Key,
}

/// What a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint<'a> {
    Runs { is_chat: bool },
    Counts { is_chat: bool },
    Run(RecordId),
    Nodes(RecordId),
    Logs,
    Statistics(&'a str),
    ServiceRun(RecordId),
    ServiceLogs,
}

impl Endpoint<'_> {
    /// Returns whether Dify has this page for an app of a mode. For other modes it has words of its own.
    fn fits(self, mode: &str) -> bool {
        match self {
            Self::Runs { is_chat: true } | Self::Counts { is_chat: true } => mode == "advanced-chat",
            Self::Runs { .. } | Self::Counts { .. } | Self::Run(_) | Self::Nodes(_) | Self::ServiceRun(_) => {
                matches!(mode, "workflow" | "advanced-chat")
            }
            Self::Logs | Self::Statistics(_) | Self::ServiceLogs => mode == "workflow",
        }
    }
}

impl Bridge {
    /// Opens no connection. `concurrency` bounds the requests that are answered from the store at once; more go to Dify.
    /// `database` is Dify's; without it, the service API is Dify's own.
    ///
    /// # Errors
    /// Settings that cannot be used, named by their key.
    pub fn new(
        service: LogService,
        state: Arc<dyn ReadStore>,
        database: Option<Database>,
        settings: ConsoleSettings,
        concurrency: u16,
    ) -> Result<Self, String> {
        settings.validate()?;
        let dify = Upstream::new(&settings)?;
        Ok(Self(Arc::new(Parts {
            gatekeeper: Gatekeeper::new(dify.clone(), Memory::new(settings.trust())),
            keys: ServiceKeys::new(Memory::new(settings.trust())),
            tables: Tables::new(database, settings.icons()?),
            coverage: Coverage::new(state),
            newest: Newest::new(),
            versions: Versions::new(dify.clone()),
            permits: Arc::new(Semaphore::new(concurrency.into())),
            service,
            settings,
            dify,
        })))
    }

    /// Returns the routes. Every path of Dify's that a proxy may send here is answered or passed on.
    pub fn router(self) -> Router {
        let mut router = Router::new();
        for path in PATHS {
            router = router.route(path, any(answer));
        }
        let passed = "/console/api/apps/{app_id}/{*rest}";
        router.route(passed, any(pass_on)).with_state(self)
    }
}

async fn pass_on(State(bridge): State<Bridge>, request: Request) -> Response {
    bridge.0.dify.pass_on(request).await
}

async fn answer(State(bridge): State<Bridge>, request: Request) -> Response {
    let parts = &*bridge.0;
    if !parts.dify.takes(request.uri()) {
        return upstream::no_such_path();
    }
    if request.method() != Method::GET {
        return parts.dify.pass_on(request).await;
    }
    // The body of a request cannot be shared between tasks, and that of a GET says nothing.
    let (uri, credentials) = (request.uri().clone(), Credentials::of(request.headers()));
    let is_foreign = is_own(request.headers()) == Some(false);
    let answered = async {
        if is_foreign {
            return Err(PassOnReason::Dify(
                "a page of another origin, which only Dify's headers allow to read the answer",
            ));
        }
        parts.answer(&uri, credentials).await
    };
    let fault = match tokio::time::timeout(parts.settings.answer(), answered).await {
        Ok(Ok(response)) => {
            counter!(names::CONSOLE_ANSWERS, "by" => "difylog").increment(1);
            return response;
        }
        Ok(Err(fault)) => fault,
        Err(_) => PassOnReason::Dify("no answer in time (serve.dify.answer_ms)"),
    };
    // The path holds ids only; the query may hold what users typed.
    let path = uri.path();
    if fault.is_fault() {
        warn!(path, %fault, "a console request goes to Dify");
    } else {
        debug!(path, %fault, "a console request goes to Dify");
    }
    counter!(names::CONSOLE_ANSWERS, "by" => "dify").increment(1);
    parts.dify.pass_on(request).await
}

impl Parts {
    async fn answer(&self, uri: &Uri, credentials: Option<Credentials>) -> Result<Response, PassOnReason> {
        let path = uri.path();
        let path_and_query = uri.path_and_query().map_or(path, PathAndQuery::as_str);
        let (of, endpoint) = parse(path).ok_or(PassOnReason::Dify("a path that Dify judges"))?;
        let query = Query::of(uri)?;
        let credentials = credentials.ok_or(PassOnReason::Dify("the caller has not signed in"))?;
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| PassOnReason::Dify("too many requests at once (serve.concurrency)"))?;
        let access = match of {
            Asker::Console(app_id) => self.gatekeeper.access(&credentials, app_id).await?,
            Asker::Key => self.keys.access(&credentials, &self.tables).await?,
        };
        if !endpoint.fits(&access.mode) {
            return Err(PassOnReason::Dify("an app of another mode"));
        }
        let Access { tenant_id, .. } = *access;
        let logs = &self.service.tenant(tenant_id);
        let (dify, credentials) = (&self.dify, &credentials);
        let sources = logs::Sources {
            path,
            logs,
            dify,
            credentials,
            coverage: &self.coverage,
            newest: &self.newest,
            tables: &self.tables,
        };
        let question = |run_id| detail::AskedRun { run_id, path_and_query };
        match endpoint {
            Endpoint::Runs { is_chat } => {
                let request = runs::PageRequest { path, query, is_chat };
                runs::page(&request, &access, logs, dify, credentials, &self.tables).await
            }
            Endpoint::Counts { .. } => totals::counts(&query, &access, logs, &self.coverage).await,
            Endpoint::Statistics(name) => totals::statistics(name, &query, &access, logs, &self.coverage).await,
            Endpoint::Run(id) => detail::run(&question(id), &access, logs, dify, credentials).await,
            Endpoint::Nodes(id) => detail::nodes(&question(id), &access, logs, dify, credentials, permit).await,
            Endpoint::ServiceRun(id) => {
                let version = self.versions.current().await?;
                service::run(&question(id), version, &access, logs, dify, credentials).await
            }
            Endpoint::Logs => logs::page(&query, &access, &sources).await,
            Endpoint::ServiceLogs => service::logs(&query, &access, &sources).await,
        }
    }
}

/// Reads a path as Dify does. `None`: not one of ours, or with ids that are none.
fn parse(path: &str) -> Option<(Asker, Endpoint<'_>)> {
    if let Some(rest) = path.strip_prefix("/v1/workflows/") {
        let endpoint = match rest.split_once('/') {
            None if rest == "logs" => Endpoint::ServiceLogs,
            Some(("run", id)) => Endpoint::ServiceRun(id.parse().ok()?),
            _ => return None,
        };
        return Some((Asker::Key, endpoint));
    }
    let mut parts = path.strip_prefix("/console/api/apps/")?.split('/');
    let app_id = parts.next()?.parse().ok()?;
    let rest: Vec<_> = parts.collect();
    let endpoint = match *rest.as_slice() {
        ["workflow-runs"] => Endpoint::Runs { is_chat: false },
        ["advanced-chat", "workflow-runs"] => Endpoint::Runs { is_chat: true },
        ["workflow-runs", "count"] => Endpoint::Counts { is_chat: false },
        ["advanced-chat", "workflow-runs", "count"] => Endpoint::Counts { is_chat: true },
        ["workflow-runs", id] => Endpoint::Run(id.parse().ok()?),
        ["workflow-runs", id, "node-executions"] => Endpoint::Nodes(id.parse().ok()?),
        ["workflow-app-logs"] => Endpoint::Logs,
        ["workflow", "statistics", name] => Endpoint::Statistics(name),
        _ => return None,
    };
    Some((Asker::Console(app_id), endpoint))
}
