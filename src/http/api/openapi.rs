//! The routes of `/v1`, and their OpenAPI 3.1 document, made from the same code; served with a page to try it, whose
//! files are in the program.

use axum::Router;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::{
    Api, admin, admin_errors, app_logs, compare, conversations, dead_letters, delete, dify, dify_nodes, errors, export,
    me, models, search, statistics,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "difylog",
        description = "Dify's workflow logs, out of PostgreSQL. Field names are Dify's. Lists are at most the store's \
                       refresh interval late; records by id are never."
    ),
    modifiers(&BearerKeys),
    tags(
        (name = "Dify", description = "The shapes of Dify's own endpoints"),
        (name = "Search", description = "Beyond Dify"),
        (name = "Records", description = "Rows with every column"),
        (name = "Export", description = "Any number of rows, one JSON text a line"),
        (name = "Delete", description = "Takes a key with the right to delete"),
        (name = "Admin", description = "Crosses tenants; takes an admin key"),
        (name = "Dead letters", description = "Messages that were refused; takes an admin key with the right to operate"),
    )
)]
struct Description;

struct BearerKeys;

impl Modify for BearerKeys {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("key", bearer);
        document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], _>("key", [])]);
    }
}

/// Returns the routes and their document.
pub(super) fn routes() -> (Router<Api>, OpenApi) {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(dify::runs, delete::runs_of_app))
        .routes(routes!(dify::run_counts))
        .routes(routes!(dify::run))
        .routes(routes!(dify_nodes::run_nodes))
        .routes(routes!(dify::service_run))
        .routes(routes!(app_logs::app_logs))
        .routes(routes!(statistics::statistics))
        .routes(routes!(search::runs))
        .routes(routes!(search::run_facets))
        .routes(routes!(search::run_histogram))
        .routes(routes!(statistics::durations))
        .routes(routes!(search::run, delete::run))
        .routes(routes!(search::run_nodes))
        .routes(routes!(search::nodes))
        .routes(routes!(search::node_facets))
        .routes(routes!(search::node_histogram))
        .routes(routes!(models::models))
        .routes(routes!(search::node))
        .routes(routes!(export::runs))
        .routes(routes!(export::nodes))
        .routes(routes!(export::app_logs))
        .routes(routes!(delete::runs))
        .routes(routes!(delete::nodes_of_app))
        .routes(routes!(admin::run))
        .routes(routes!(admin::node))
        .routes(routes!(admin_errors::errors))
        .routes(routes!(errors::errors))
        .routes(routes!(compare::compare))
        .routes(routes!(conversations::conversation))
        .routes(routes!(conversations::message))
        .routes(routes!(conversations::message_of_run))
        .routes(routes!(me::me))
        .routes(routes!(me::apps))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(dead_letters::replay_state, dead_letters::stop_replay))
        .routes(routes!(dead_letters::purge))
        .routes(routes!(dead_letters::letter))
        .split_for_parts()
}

/// `/openapi.json`, and `/docs` to try it.
pub(super) fn pages(document: OpenApi) -> Router<Api> {
    SwaggerUi::new("/docs").url("/openapi.json", document).into()
}
