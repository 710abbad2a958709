//! Counts of what belongs to runs, and deletes, one after the other.

use difylog::domain::{Kind, RecordId, TenantId};
use difylog::query::Related;
use serde_json::{Value, json};

use crate::golden::Case;
use crate::golden::class::{Class, Outcome};
use crate::golden::load::Loaded;

fn run_ids(case: &Case) -> Vec<RecordId> {
    case.args()["run_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

/// As Dify answers it; what the store does not hold is 0.
fn view(related: Related) -> Value {
    json!({
        "runs": related.runs, "node_executions": related.node_executions, "offloads": related.offloads,
        "app_logs": related.app_logs, "trigger_logs": 0, "pauses": 0, "pause_reasons": 0,
    })
}

pub async fn count(loaded: &Loaded, case: &Case) -> Outcome {
    let ids = run_ids(case);
    let mut related = Related::default();
    for id in ids {
        let owner = loaded.service.admin().records(Kind::WorkflowRun, id).await.unwrap().pop().unwrap().tenant_id();
        let one = loaded.service.tenant(owner).count_related(&[id]).await.unwrap();
        related.node_executions += one.node_executions;
        related.offloads += one.offloads;
    }
    if case.method() == "count_by_runs" {
        case.same(&json!([related.node_executions, related.offloads]), case.result());
    } else {
        case.same(&view(related), case.result());
    }
    Outcome::Equal
}

pub async fn delete(loaded: &Loaded, case: &Case) -> Outcome {
    let tenant = || loaded.service.tenant(case.id::<TenantId>("tenant_id"));
    let deleted = match case.method() {
        "delete_runs_with_related" => {
            let related = loaded.service.admin().delete_runs(&run_ids(case), true).await.unwrap();
            let mut difys = case.result().clone();
            let is_all = ["trigger_logs", "pauses", "pause_reasons"].iter().all(|name| difys[name] == 0);
            for name in ["trigger_logs", "pauses", "pause_reasons"] {
                difys[name] = json!(0);
            }
            case.same(&view(related), &difys);
            return if is_all { Outcome::Equal } else { Outcome::Class(Class::NotInTheStore) };
        }
        "delete_runs_by_ids" => loaded.service.admin().delete_runs(&run_ids(case), false).await.unwrap().runs,
        "delete_runs_by_app" => tenant().delete_runs_of_app(case.id("app_id")).await.unwrap(),
        "delete_executions_by_app" => tenant().delete_nodes_of_app(case.id("app_id")).await.unwrap(),
        "delete_expired_executions" => {
            tenant().delete_nodes_before(case.instant("before_date").unwrap()).await.unwrap()
        }
        method => panic!("case {}: nobody answers {method}", case.number),
    };
    case.same(&json!(deleted), case.result());
    Outcome::Equal
}
