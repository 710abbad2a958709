//! Which app: the pages that are about one app ask first.

use maud::{Markup, html};

use super::explore::{View, apps_of};
use super::format::count;
use crate::domain::query::{Facet, TimeRange};
use crate::http::api::problem::Problem;
use crate::query::RunQuery;

/// Apps to choose from.
const APPS: usize = 50;

/// Returns the apps with runs of the span that were triggered by any of these (empty: by anything), most runs first, each a link to
/// this view of it; or that there is none.
pub(super) async fn choose_app(
    view: &View<'_>,
    triggered_from: &[Box<str>],
    created: TimeRange,
    heading: Option<&Markup>,
) -> Result<Markup, Problem> {
    let texts = view.texts();
    let query = RunQuery { created, triggered_from: triggered_from.to_vec(), ..RunQuery::default() };
    let apps = view.reader.logs.facet(&query, Facet::AppId, APPS).await?;
    if apps.is_empty() {
        return Ok(view.none_found(texts.none, None));
    }
    view.learn(apps_of(&apps)).await;
    Ok(html! {
        (view.names_note(false))
        @if let Some(heading) = heading { (heading) }
        table.framed {
            thead { tr { th scope="col" { (texts.app) } th.number scope="col" { (texts.runs) } } }
            @for app in &apps { tbody.linked { tr {
                td { a.whole href=(view.href(&view.state.with("app_id", Some(&app.value)))) { (view.app(&app.value)) } }
                td.number { (count(app.count.into())) }
            } } }
        }
    })
}
