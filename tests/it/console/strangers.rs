//! Nobody sees another tenant's rows, whoever asks for whatever in whichever order.

use difylog::domain::{AppId, Record, RunStatus, TenantId};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::console::dify::Fault;
use crate::console::place::Place;
use crate::support::records;

/// Requests of one run; more by `DIFYLOG_TEST_STRANGERS`.
const REQUESTS: usize = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_holds_anything_of_another_tenant() {
    let requests = std::env::var("DIFYLOG_TEST_STRANGERS").map_or(REQUESTS, |text| text.parse().unwrap());
    let place = Place::new(true).await;
    let mut rng = StdRng::seed_from_u64(7);
    let tenants: Vec<TenantId> = (0..4).map(|_| records::tenant()).collect();
    let mut apps: Vec<(TenantId, AppId)> = Vec::new();
    let mut runs = Vec::new();
    for tenant in &tenants {
        for mode in ["workflow", "advanced-chat"] {
            let app = place.app(*tenant, mode);
            apps.push((*tenant, app));
            for number in 0..6 {
                let at = records::later(records::at("2025-12-01T00:00:00Z"), number * 700_000);
                let mut run = records::run(*tenant, app, at);
                // The mark of its owner is in every payload.
                run.inputs = records::json(&format!(r#"{{"mark": "{tenant}"}}"#));
                run.version = tenant.to_string().into();
                if number % 3 != 0 {
                    run.status = RunStatus::Succeeded;
                    run.finished_at = Some(records::later(at, 1));
                }
                let mut node = records::node(*tenant, app, run.id, 1, at);
                node.title = tenant.to_string().into();
                let log = records::app_log(*tenant, app, run.id, at);
                runs.push(run.id);
                if number % 2 == 0 {
                    place.dify.tables.lock().unwrap().runs.push(run.clone());
                }
                place
                    .store([Record::Run(Box::new(run)), Record::Node(Box::new(node)), Record::AppLog(Box::new(log))])
                    .await;
            }
        }
    }
    for (index, tenant) in tenants.iter().enumerate() {
        place.user(&format!("user{index}"), &[*tenant]);
    }
    place.user("both", &tenants[..2]);
    let mut answered = 0;
    for _ in 0..requests {
        let user = rng.random_range(0..7);
        let token = match user {
            0..4 => format!("user{user}"),
            4 => "both".to_owned(),
            5 => "expired".to_owned(),
            _ => String::new(),
        };
        let (_, app) = apps[rng.random_range(0..apps.len())];
        let run = runs[rng.random_range(0..runs.len())];
        let tail = match rng.random_range(0..8) {
            0 => format!("workflow-runs?triggered_from=app-run&limit={}", rng.random_range(1..9)),
            1 => format!("workflow-runs?triggered_from=app-run&last_id={run}"),
            2 => "advanced-chat/workflow-runs?triggered_from=app-run".to_owned(),
            3 => format!("workflow-runs/{run}"),
            4 => format!("workflow-runs/{run}/node-executions"),
            5 => "workflow-app-logs".to_owned(),
            6 => "workflow-runs/count?triggered_from=app-run".to_owned(),
            _ => "workflow/statistics/token-costs".to_owned(),
        };
        let current = {
            let mut tables = place.dify.tables.lock().unwrap();
            tables.fault = (rng.random_range(0..20) == 0).then_some(match rng.random_range(0..4) {
                0 => Fault::Html,
                1 => Fault::Redirect,
                2 => Fault::ServerError,
                _ => Fault::Fickle,
            });
            if rng.random_range(0..10) == 0 {
                let both = tables.users.get_mut("both").unwrap();
                both.current = 1 - both.current;
            }
            token == "both"
        };
        let answer = place.ask(&token, &format!("/console/api/apps/{app}/{tail}")).await;
        answered += u32::from(answer.status == 200);
        // Somebody of two workspaces may see both, one at a time.
        let own: Vec<TenantId> = match user {
            0..4 => vec![tenants[user]],
            _ if current => tenants[..2].to_vec(),
            _ => Vec::new(),
        };
        for tenant in tenants.iter().filter(|tenant| !own.contains(tenant)) {
            assert!(!answer.text.contains(&tenant.to_string()), "{token} asked {tail} of {app}: {answer:?}");
        }
        if own.is_empty() {
            let harmless = answer.status != 200 || answer.text.starts_with('<');
            assert!(harmless, "{token:?} was answered: {answer:?}");
        }
    }
    assert!(answered > 0);
}
