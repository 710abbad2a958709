//! Generated records: any value that a decoder can answer.

use difylog::domain::{
    AppId, AppLog, JsonText, NodeExecution, NodeStatus, Offload, Record, RecordId, RunStatus, TenantId, Timestamp,
    WorkflowRun,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

fn id() -> impl Strategy<Value = RecordId> {
    any::<u128>().prop_map(|bits| RecordId::new(Uuid::from_u128(bits)))
}

fn tenant_and_app() -> impl Strategy<Value = (TenantId, AppId)> {
    let new = |(tenant, app)| (TenantId::new(Uuid::from_u128(tenant)), AppId::new(Uuid::from_u128(app)));
    any::<(u128, u128)>().prop_map(new)
}

fn instant() -> impl Strategy<Value = Timestamp> {
    (0..=Timestamp::MAX.micros()).prop_map(|micros| Timestamp::from_micros(micros).unwrap())
}

/// Any text but U+0000, which a text column cannot hold.
fn text() -> impl Strategy<Value = Box<str>> {
    vec(any::<char>().prop_filter("no NUL", |character| *character != '\0'), 0..20)
        .prop_map(|characters| characters.into_iter().collect::<String>().into())
}

fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1e6, any::<f64>().prop_filter("finite", |number| number.is_finite())]
}

/// Any clean JSON value but null, in any spelling of white space.
pub fn payload() -> impl Strategy<Value = JsonText> {
    let leaf = prop_oneof![
        Just("1e-09".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let value = leaf.prop_recursive(4, 24, 6, |value| {
        prop_oneof![
            vec(value.clone(), 0..6).prop_map(|elements| format!("[ {}]", elements.join(","))),
            vec((text(), value), 0..6).prop_map(|members| {
                let member = |(key, value): &(Box<str>, String)| format!("{} : {value}", serde_json::json!(key));
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(", "))
            }),
        ]
    });
    value.prop_map(JsonText::from_clean)
}

fn run() -> impl Strategy<Value = Record> {
    let ids = (tenant_and_app(), id(), id(), id());
    let texts = (text(), text(), text(), text(), text(), option::of(text()));
    let payloads = (option::of(payload()), option::of(payload()), option::of(payload()));
    let numbers = (seconds(), any::<[i64; 3]>(), instant(), option::of(instant()));
    (ids, texts, payloads, numbers).prop_map(|(ids, texts, payloads, numbers)| {
        let ((tenant_id, app_id), id, workflow_id, created_by) = ids;
        let (r#type, triggered_from, version, status, created_by_role, error) = texts;
        let (graph, inputs, outputs) = payloads;
        let (elapsed_time, [total_tokens, total_steps, exceptions_count], created_at, finished_at) = numbers;
        let status = RunStatus::from(&*status);
        Record::Run(Box::new(WorkflowRun {
            id,
            tenant_id,
            app_id,
            workflow_id,
            r#type,
            triggered_from,
            version,
            graph,
            inputs,
            status,
            outputs,
            error,
            elapsed_time,
            total_tokens,
            total_steps,
            created_by_role,
            created_by,
            created_at,
            finished_at,
            exceptions_count,
        }))
    })
}

fn node() -> impl Strategy<Value = Record> {
    let ids = (tenant_and_app(), id(), id(), id(), option::of(id()));
    let texts =
        (text(), text(), text(), text(), text(), text(), option::of(text()), option::of(text()), option::of(text()));
    let payloads = [option::of(payload()), option::of(payload()), option::of(payload()), option::of(payload())];
    let numbers = (seconds(), any::<i64>(), instant(), option::of(instant()));
    (ids, texts, payloads, numbers).prop_map(|(ids, texts, payloads, numbers)| {
        let ((tenant_id, app_id), id, workflow_id, created_by, workflow_run_id) = ids;
        let (triggered_from, node_id, node_type, title, status, created_by_role, ..) = texts;
        let (.., predecessor_node_id, node_execution_id, error) = texts;
        let [inputs, process_data, outputs, execution_metadata] = payloads;
        let (elapsed_time, index, created_at, finished_at) = numbers;
        let status = NodeStatus::from(&*status);
        Record::Node(Box::new(NodeExecution {
            id,
            tenant_id,
            app_id,
            workflow_id,
            triggered_from,
            workflow_run_id,
            index,
            predecessor_node_id,
            node_execution_id,
            node_id,
            node_type,
            title,
            inputs,
            process_data,
            outputs,
            status,
            error,
            elapsed_time,
            execution_metadata,
            created_at,
            created_by_role,
            created_by,
            finished_at,
        }))
    })
}

fn app_log() -> impl Strategy<Value = Record> {
    (tenant_and_app(), [id(), id(), id(), id()], text(), text(), option::of(text()), instant()).prop_map(
        |(
            (tenant_id, app_id),
            [id, workflow_id, workflow_run_id, created_by],
            created_from,
            created_by_role,
            creator,
            created_at,
        )| {
            Record::AppLog(Box::new(AppLog {
                id,
                tenant_id,
                app_id,
                workflow_id,
                workflow_run_id,
                created_from,
                created_by_role,
                created_by,
                creator,
                created_at,
            }))
        },
    )
}

fn offload() -> impl Strategy<Value = Record> {
    (tenant_and_app(), id(), option::of(id()), text(), id(), instant()).prop_map(
        |((tenant_id, app_id), id, node_execution_id, r#type, file_id, created_at)| {
            Record::Offload(Box::new(Offload { id, tenant_id, app_id, node_execution_id, r#type, file_id, created_at }))
        },
    )
}

/// A record of any kind.
pub fn record() -> impl Strategy<Value = Record> {
    prop_oneof![run(), node(), app_log(), offload()]
}
