//! The app-log list.

use difylog::query::{AppLogList, AppLogQuery, LogService, QueryError};
use serde_json::Value;

use crate::golden::Case;
use crate::golden::class::{Class, Outcome};
use crate::golden::load::Loaded;

async fn ask(service: &LogService, case: &Case, limit: Option<usize>) -> Result<AppLogList, QueryError> {
    let number = |name: &str, default: u64| case.args()[name].as_u64().unwrap_or(default);
    let owned = |name: &str| case.text(name).map(str::to_owned);
    let query = AppLogQuery {
        app_id: case.id("app_id"),
        keyword: owned("keyword"),
        status: case.text("status").map(Into::into),
        created_at_after: case.instant("created_at_after"),
        created_at_before: case.instant("created_at_before"),
        session_id: owned("created_by_end_user_session_id"),
        account: owned("created_by_account"),
        page: if limit.is_some() { 1 } else { number("page", 1) },
        limit: limit.unwrap_or(usize::try_from(number("limit", 20)).unwrap()),
    };
    service.tenant(case.id("tenant_id")).app_logs(&query).await
}

fn ids(list: &AppLogList) -> Vec<String> {
    list.rows.iter().map(|row| row.log.id.to_string()).collect()
}

/// Runs of equal timestamps as sets: what SQL defines of a page. `None` where a group is cut by the end of the page.
fn defined(list: &AppLogList) -> Vec<(String, String)> {
    let mut rows: Vec<_> =
        list.rows.iter().map(|row| (row.log.created_at.to_string(), row.log.id.to_string())).collect();
    rows.sort_unstable();
    rows
}

pub async fn page(loaded: &Loaded, case: &Case) -> Outcome {
    let answer = ask(&loaded.service, case, None).await;
    if let Some(message) = case.error() {
        if message.contains("DuplicateAlias") {
            // Where Dify crashes, both conditions hold.
            let (ours, obvious) = (answer.unwrap(), ask(&loaded.obvious, case, None).await.unwrap());
            assert!(ours.total > 0 || obvious.total == 0);
            case.same(&(ids(&ours), ours.total), &(ids(&obvious), obvious.total));
            return Outcome::Class(Class::KeywordAndSession);
        }
        case.same(&answer.unwrap_err().to_string().as_str(), &message);
        return Outcome::Equal;
    }
    let ours = answer.unwrap();
    let difys = case.result();
    let difys_ids: Vec<String> =
        difys["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    if difys["total"] == ours.total && difys["has_more"] == Value::Bool(ours.has_more) {
        if ids(&ours) == difys_ids {
            return Outcome::Equal;
        }
        return ties(loaded, case, &ours, &difys_ids).await;
    }
    decoded(loaded, case, &ours, &difys_ids).await
}

/// The same rows but for the order among equal timestamps: the obvious order.
async fn ties(loaded: &Loaded, case: &Case, ours: &AppLogList, difys: &[String]) -> Outcome {
    assert_eq!(case.value["ties"], true, "case {} {}", case.number, case.args());
    case.same(&ids(ours), &ids(&ask(&loaded.obvious, case, None).await.unwrap()));
    let whole = ask(&loaded.service, case, Some(100_000)).await.unwrap();
    let time = |id: &String| {
        let row = whole.rows.iter().find(|row| row.log.id.to_string() == *id);
        row.unwrap_or_else(|| panic!("case {}: Dify found {id}, we did not", case.number)).log.created_at
    };
    let (ours, difys): (Vec<_>, Vec<_>) =
        (ours.rows.iter().map(|row| row.log.created_at).collect(), difys.iter().map(time).collect());
    case.same(&ours, &difys);
    Outcome::Class(Class::Ties)
}

/// Another number of rows: only a keyword may be the reason.
async fn decoded(loaded: &Loaded, case: &Case, ours: &AppLogList, difys: &[String]) -> Outcome {
    let keyword = case.text("keyword").unwrap_or_else(|| {
        panic!("case {} {}: ours {} Dify's {}", case.number, case.args(), ours.total, case.result()["total"])
    });
    let obvious = ask(&loaded.obvious, case, None).await.unwrap();
    case.same(&(defined(ours), ours.total), &(defined(&obvious), obvious.total));
    // What Dify finds, we find, unless it took the keyword for a pattern or found an escape instead of a text.
    let is_pattern = case.is_of_1_10() && keyword.contains(['%', '_']);
    if !is_pattern && !keyword.contains('\\') {
        let whole = ids(&ask(&loaded.service, case, Some(100_000)).await.unwrap());
        let missing: Vec<_> = difys.iter().filter(|id| !whole.contains(id)).collect();
        assert!(missing.is_empty(), "case {} {}: Dify found {missing:?}", case.number, case.args());
    }
    Outcome::Class(Class::DecodedSearch)
}
