//! The four daily statistics.

use chrono_tz::Tz;
use difylog::domain::query::TimeRange;
use difylog::query::{DailyQuery, interactions, local_instant};
use serde_json::{Value, json};

use crate::golden::Case;
use crate::golden::class::Outcome;
use crate::golden::load::Loaded;

pub async fn daily(loaded: &Loaded, case: &Case) -> Outcome {
    let zone: Tz = case.text("timezone").unwrap_or("UTC").parse().unwrap();
    let created = TimeRange { from: case.instant("start_date"), until: case.instant("end_date") };
    let request = &case.value["request"];
    for (name, instant) in [("start", created.from), ("end", created.until)] {
        if let Some(text) = request[name].as_str() {
            assert_eq!(local_instant(text, zone), instant, "case {} {request}", case.number);
        }
    }
    let query = DailyQuery {
        app_id: case.id("app_id"),
        triggered_from: vec![case.text("triggered_from").unwrap().into()],
        created,
        zone,
    };
    let days = loaded.service.tenant(case.id("tenant_id")).daily(&query).await.unwrap();
    let ours: Vec<Value> = days
        .iter()
        .map(|day| {
            let date = day.date.to_string();
            match case.method() {
                "get_daily_runs_statistics" => json!({"date": date, "runs": day.runs}),
                "get_daily_terminals_statistics" => json!({"date": date, "terminal_count": day.users}),
                "get_daily_token_cost_statistics" => {
                    json!({"date": date, "token_count": {"$decimal": day.tokens.to_string()}})
                }
                _ => json!({"date": date, "interactions": interactions(day)}),
            }
        })
        .collect();
    case.same(&Value::Array(ours), case.result());
    Outcome::Equal
}
