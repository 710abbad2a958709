//! Pages of app logs: exact totals, any offset, the runs they stand for.

use difylog::domain::query::AppLogPage;

use crate::contract::queries::{fill, questions};
use crate::contract::subject::Subject;

pub async fn pages_of_app_logs_are_as_the_model_says(subject: &Subject) {
    let mut world = subject.world(7);
    let records = world.runs(80).into_iter().chain(world.app_logs(200)).collect();
    let model = fill(subject, records).await;
    let (mut found, mut without_run) = (0, 0);
    for number in 0..questions() {
        let filter = world.log_filter();
        let all = model.app_logs(&filter);
        let (offset, limit) = ([0, 0, 1, 7, 40, 10_000][number % 6], [1, 5, 20, 500][number % 4]);
        let rows: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
        found += rows.len();
        without_run += rows.iter().filter(|row| row.run.is_none()).count();
        let expected = AppLogPage { rows, total: all.len() as u64 };
        let page = subject.store.app_logs(&filter, offset as u64, limit).await.unwrap();
        assert_eq!(page, expected, "{filter:?} from {offset}, {limit}");
    }
    assert!(found > questions() && without_run > 0, "the questions find next to nothing");
}
