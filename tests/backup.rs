//! Backups over both stores: what was stored when one began comes back from it, as it was, whatever happens meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "backup/cases.rs"]
mod cases;
#[path = "backup/commands.rs"]
mod commands;
#[path = "backup/place.rs"]
mod place;
#[path = "support/records.rs"]
mod records;
#[path = "support/site.rs"]
mod site;

/// Every case, over the place that the expression makes.
macro_rules! over {
    ($place:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::cases::$case(&$place.await).await;
            }
        )+
    };
    ($place:expr) => {
        crate::over!(
            $place;
            a_store_destroyed_is_restored_equal_while_writing,
            a_month_is_copied_once,
            nothing_is_written_over,
            a_backup_that_was_killed_is_none,
            loss_and_change_are_named,
            a_deleted_backup_takes_only_what_no_other_needs,
            one_process_at_a_time,
        );
    };
}
use over;

mod sqlite {
    crate::over!(crate::place::Place::sqlite());
}

mod engine_dedicated {
    crate::over!(crate::place::Place::engine(difylog::store::elastic::Tenancy::Dedicated));
}

mod engine_shared {
    crate::over!(
        crate::place::Place::engine(difylog::store::elastic::Tenancy::Shared);
        a_store_destroyed_is_restored_equal_while_writing,
    );
}
