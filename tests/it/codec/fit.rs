//! Records within their limits: what is cut, what is handed out, and the graph on its own.

use difylog::codec::python_json::{Scanner, TypedLeaves};
use difylog::codec::truncate::{Limits, fit, take_graph, truncate};
use difylog::codec::{DecodeLimits, DecodedEvents, decode};
use difylog::domain::document::PayloadField;
use difylog::domain::{JsonText, Record, WorkflowRun};
use proptest::prelude::*;

use crate::codec::generate;
use crate::codec::native;
use crate::support::corpus;

fn run(more: &str) -> WorkflowRun {
    match decode(&native::message(native::run_event(more)), DecodeLimits::default()).unwrap().content {
        DecodedEvents::One(Record::Run(run)) => *run,
        other => panic!("{other:?}"),
    }
}

fn text(bytes: usize) -> String {
    format!(r#"{{"t":"{}"}}"#, "x".repeat(bytes - 8))
}

#[test]
fn the_largest_fields_give_way_to_the_document() {
    let (inputs, outputs, error) = (text(3_000), text(500), "e".repeat(2_000));
    let run =
        run(&format!(r#", "inputs": {inputs}, "outputs": {outputs}, "error": "{error}", "graph": {}"#, text(2_600)));
    let mut record = Record::Run(Box::new(run));
    let cuts = fit(&mut record, &Limits { field_bytes: 2_500, document_bytes: 2_500 });
    let Record::Run(run) = record else { panic!() };
    let kept = [run.inputs.unwrap().len(), run.outputs.unwrap().len(), run.error.as_ref().unwrap().len()];
    assert_eq!((kept, run.graph.unwrap().len()), ([1_000, 500, 1_000], 2_500));
    assert!(run.error.unwrap().ends_with("e..."));
    let fields: Vec<_> = cuts.iter().map(|cut| (cut.truncation.field, cut.truncation.original_bytes)).collect();
    assert_eq!(fields, [(PayloadField::Graph, 2_600), (PayloadField::Inputs, 3_000), (PayloadField::Error, 2_002)]);
    assert_eq!(cuts[1].full.as_str(), inputs);
    assert_eq!(cuts[2].full.as_str(), format!("\"{error}\""));
}

#[test]
fn what_is_within_stays_untouched() {
    let mut record = Record::Run(Box::new(run(&format!(r#", "inputs": {}"#, text(100)))));
    let before = record.clone();
    assert_eq!(fit(&mut record, &Limits { field_bytes: 100, document_bytes: 100 }), []);
    assert_eq!(record, before);
}

#[test]
fn marks_name_the_sha256_of_the_full_text() {
    let mut record = Record::Run(Box::new(run(&format!(r#", "inputs": "[{}]""#, " ".repeat(98)))));
    let cuts = fit(&mut record, &Limits { field_bytes: 50, document_bytes: 50 });
    let full = cuts[0].full.as_str();
    assert_eq!(full.len(), 100);
    // printf '[%98s]' '' | sha256sum
    let sha256 = "5b2d9bc71367ca83b2bb449deca4648606a4dbff65ea42414fb7a64e8ab64cfe";
    assert_eq!(cuts[0].truncation.sha256.to_string(), sha256);
}

#[test]
fn equal_graphs_have_one_hash() {
    let mut first = run(r#", "graph": {"nodes": [1]}"#);
    let mut second = run(r#", "graph": "{\"nodes\": [1]}", "created_at": "2026-12-01T00:00:00""#);
    let (first_graph, second_graph) = (take_graph(&mut first).unwrap(), take_graph(&mut second).unwrap());
    assert_eq!(first_graph.hash, second_graph.hash);
    assert_eq!((first_graph.month.to_string(), second_graph.month.to_string()), ("2026-11".into(), "2026-12".into()));
    assert_eq!((first.graph, take_graph(&mut second)), (None, None));
}

#[test]
fn limits_are_read_in_both_spellings_and_unknown_keys_are_errors() {
    let read = |text: &str| serde_json::from_str::<Limits>(text);
    let expected = Limits { field_bytes: 5, ..Limits::default() };
    assert_eq!(read(r#"{"field-bytes": 5}"#).unwrap(), expected);
    assert_eq!(read(r#"{"field_bytes": 5}"#).unwrap(), expected);
    assert!(read(r#"{"field_byte": 5}"#).is_err());
}

#[test]
fn dify_s_own_truncation_cases_stay_valid_within_budget() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/truncation_vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 56);
    for case in cases {
        let input = JsonText::from_clean(case["input"].to_string());
        let budget = usize::try_from(case["max_size_bytes"].as_u64().unwrap()).unwrap();
        let Some(cut) = truncate(&input, budget) else { continue };
        let value: serde_json::Value = serde_json::from_str(cut.as_str()).unwrap();
        assert!(value.is_object() && cut.len() <= budget.max(8), "{}", case["input"]);
    }
}

#[test]
fn the_two_megabytes_of_the_corpus_are_cut_to_one() {
    let large = corpus::lines("celery_messages.jsonl")
        .iter()
        .map(corpus::message)
        .max_by_key(|message| message.body.len())
        .unwrap();
    let DecodedEvents::One(mut record) = decode(&large, DecodeLimits::default()).unwrap().content else { panic!() };
    let cuts = fit(&mut record, &Limits::default());
    let Record::Node(node) = record else { panic!() };
    let outputs = node.outputs.unwrap();
    assert_eq!((cuts.len(), cuts[0].truncation.field), (1, PayloadField::Outputs));
    assert!(((1 << 20) - 8..=1 << 20).contains(&outputs.len()), "{}", outputs.len());
}

proptest! {
    #[test]
    fn the_sum_is_within_and_every_payload_stays_json(record in generate::record(), field_bytes in 8_usize..300, document_bytes in 64_usize..400) {
        let mut fitted = record.clone();
        let cuts = fit(&mut fitted, &Limits { field_bytes, document_bytes });
        let (json, error) = payloads(&fitted);
        for text in &json {
            prop_assert!(text.len() <= field_bytes);
            prop_assert!(Scanner::new(text.as_str(), TypedLeaves::Keep).document().is_ok());
        }
        let total = json.iter().map(|text| text.len()).sum::<usize>() + error.map_or(0, str::len);
        prop_assert!(total <= document_bytes, "{total} > {document_bytes}");
        prop_assert_eq!(cuts.is_empty(), fitted == record);
        prop_assert_eq!(fit(&mut fitted, &Limits { field_bytes, document_bytes }), []);
    }
}

fn payloads(record: &Record) -> (Vec<&JsonText>, Option<&str>) {
    match record {
        Record::Run(run) => ([&run.inputs, &run.outputs].into_iter().flatten().collect(), run.error.as_deref()),
        Record::Node(node) => {
            let json = [&node.inputs, &node.process_data, &node.outputs, &node.execution_metadata];
            (json.into_iter().flatten().collect(), node.error.as_deref())
        }
        Record::AppLog(_) | Record::Offload(_) => (Vec::new(), None),
    }
}
