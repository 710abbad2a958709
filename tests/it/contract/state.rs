//! difylog's own state: compare and set, never lost, never mixed up.

use serde_json::json;
use uuid::Uuid;

use crate::contract::subject::Subject;

pub async fn an_entry_is_written_over_its_version_only(subject: &Subject) {
    let state = &subject.store;
    let key = format!("test/{}/a", Uuid::new_v4());
    assert_eq!(state.state(&key).await, Ok(None));
    assert_eq!(state.put_state(&key, &json!(0), Some(1)).await, Ok(None), "there is none yet");
    let first = state.put_state(&key, &json!({"at": "世界", "n": 1}), None).await.unwrap().unwrap();
    assert_eq!(state.put_state(&key, &json!(2), None).await, Ok(None), "there is one");
    let found = state.state(&key).await.unwrap().unwrap();
    assert_eq!((found.value, found.version), (json!({"at": "世界", "n": 1}), first));
    let second = state.put_state(&key, &json!(2), Some(first)).await.unwrap().unwrap();
    assert!(second > first);
    assert_eq!(state.put_state(&key, &json!(3), Some(first)).await, Ok(None));
    assert_eq!(state.delete_state(&key, first).await, Ok(false));
    assert_eq!(state.delete_state(&key, second).await, Ok(true));
    assert_eq!(state.state(&key).await, Ok(None));
    assert_eq!(state.delete_state(&key, second).await, Ok(false));
}

pub async fn one_of_many_writers_wins_each_version(subject: &Subject) {
    let key = format!("test/{}/counter", Uuid::new_v4());
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (state, key) = (subject.store.clone(), key.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    loop {
                        let found = state.state(&key).await.unwrap();
                        let value = found.as_ref().map_or(0, |entry| entry.value.as_u64().unwrap());
                        let expected = found.map(|entry| entry.version);
                        if state.put_state(&key, &json!(value + 1), expected).await.unwrap().is_some() {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(subject.store.state(&key).await.unwrap().unwrap().value, json!(80));
}

pub async fn entries_are_listed_by_prefix_in_order(subject: &Subject) {
    let prefix = format!("test/{}/", Uuid::new_v4());
    for name in ["b", "a", "a/1", "c_d", "a.2"] {
        subject.store.put_state(&format!("{prefix}{name}"), &json!(name), None).await.unwrap().unwrap();
    }
    let names = async |prefix: String| -> Vec<_> {
        let entries = subject.store.states(&prefix).await.unwrap();
        entries.into_iter().map(|entry| entry.value.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(prefix.clone()).await, ["a", "a.2", "a/1", "b", "c_d"]);
    assert_eq!(names(format!("{prefix}a/")).await, ["a/1"]);
    assert!(names(format!("{prefix}_")).await.is_empty());
}
