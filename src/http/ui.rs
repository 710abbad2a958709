//! The log explorer: pages for people over the same questions as the API. Server-rendered, so that every view is a link
//! and reading needs no script; a key typed once is the way in. No page holds a text from outside as markup.

mod access;
mod admin_errors;
mod app_logs;
mod assets;
mod charts;
mod choose_app;
mod compare;
mod conversation;
mod dead_letters;
mod errors;
mod explore;
mod format;
mod graph;
mod i18n;
mod layout;
mod models;
mod names;
mod nodes;
mod payload;
mod person;
mod run;
mod runs;
mod session;
mod sign_in;
mod state;
mod states;
mod statistics;
mod system;
mod timeline;
mod times;
mod transcript;
mod tree;
mod viewer;
mod workspaces;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::{get, post};

pub(in crate::http) use self::session::Sessions;
use super::api::{
    Api, admin_errors as errors_of_all, audit, errors as errors_of_api, export, limits, models as models_of_api, search,
};

/// Largest form, in bytes.
const MAX_FORM: usize = 16 << 10;

/// Returns every page. Answers of the API that a page links to are here a second time, for the cookie.
pub(super) fn routes(api: &Api) -> Router<Api> {
    let within = Router::new()
        .route("/ui/", get(workspaces::home))
        .route("/ui/workspaces", get(workspaces::list))
        .route("/ui/t", get(workspaces::open))
        .route("/ui/system", get(system::page))
        .route("/ui/errors", get(admin_errors::page))
        .route("/ui/dead-letters", get(dead_letters::page))
        .route("/ui/dead-letters/act", get(dead_letters::acted).post(dead_letters::act))
        .route("/ui/dead-letters/replays/{replay_id}", get(dead_letters::progress))
        .route("/ui/dead-letters/replays/{replay_id}/stop", get(dead_letters::stopped).post(dead_letters::stop))
        .route("/ui/dead-letters/{sha256}", get(dead_letters::letter))
        .route("/ui/t/{tenant_id}/runs", get(runs::page))
        .route("/ui/t/{tenant_id}/runs/{run_id}", get(run::page))
        .route("/ui/t/{tenant_id}/conversations/{conversation_id}", get(conversation::page))
        .route("/ui/t/{tenant_id}/people/{person_id}", get(person::page))
        .route("/ui/t/{tenant_id}/nodes", get(nodes::page))
        .route("/ui/t/{tenant_id}/nodes/{node_execution_id}", get(payload::node))
        .route("/ui/t/{tenant_id}/errors", get(errors::page))
        .route("/ui/t/{tenant_id}/statistics", get(statistics::page))
        .route("/ui/t/{tenant_id}/app-logs", get(app_logs::page))
        .route("/ui/data/errors", get(errors_of_all::errors))
        .route("/ui/data/{tenant_id}/runs", get(search::runs))
        .route("/ui/data/{tenant_id}/nodes", get(search::nodes))
        .route("/ui/data/{tenant_id}/nodes/models", get(models_of_api::models))
        .route("/ui/data/{tenant_id}/runs/{run_id}", get(search::run))
        .route("/ui/data/{tenant_id}/runs/{run_id}/nodes", get(search::run_nodes))
        .route("/ui/data/{tenant_id}/nodes/{node_execution_id}", get(search::node))
        .route("/ui/data/{tenant_id}/errors", get(errors_of_api::errors))
        .route("/ui/data/{tenant_id}/export/runs", get(export::runs))
        .route("/ui/data/{tenant_id}/export/nodes", get(export::nodes))
        .route("/ui/data/{tenant_id}/runs/{run_id}/text/{field}", get(payload::run_text))
        .route("/ui/data/{tenant_id}/nodes/{node_execution_id}/text/{field}", get(payload::node_text))
        .route("/ui/{*rest}", get(states::no_such_page))
        .layer(from_fn_with_state(api.clone(), audit::reads))
        .layer(from_fn_with_state(api.clone(), limits::within_limits))
        .layer(from_fn_with_state(api.clone(), sign_in::signed_in));
    let open = Router::new()
        .route("/ui/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/ui/entered", get(sign_in::kept))
        .route("/ui/enter", get(sign_in::enter))
        .route("/ui/sign-out", post(sign_in::sign_out).get(to_the_start))
        .route("/ui/look", post(sign_in::look).get(to_the_start))
        .route("/ui/assets/{hash}/{name}", get(assets::asset))
        .route("/ui", get(async || Redirect::permanent("/ui/")))
        .route("/", get(to_the_start))
        .layer(from_fn_with_state((api.clone(), MAX_FORM), limits::whole_body));
    within
        .merge(open)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn(sign_in::own_forms))
        .layer(from_fn_with_state(api.clone(), states::faced))
}

/// Leads to the start, from an address of a form that somebody typed or loaded anew.
async fn to_the_start() -> Redirect {
    Redirect::temporary("/ui/")
}
