//! Backups over both stores: what was stored when one began comes back from it, as it was, whatever happens meanwhile.

mod cases;
mod commands;
mod mishaps;
mod place;

/// Every case, over the place that the expression makes.
macro_rules! over {
    ($place:expr; $($module:ident :: $case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::backup::$module::$case(&$place.await).await;
            }
        )+
    };
    ($place:expr) => {
        crate::backup::over!(
            $place;
            cases::a_store_destroyed_is_restored_equal_while_writing,
            cases::a_month_is_copied_once,
            cases::nothing_is_written_over,
            cases::a_backup_that_was_killed_is_none,
            cases::loss_and_change_are_named,
            cases::copies_of_one_run_are_compared_month_by_month,
            cases::a_deleted_backup_takes_only_what_no_other_needs,
            cases::one_process_at_a_time,
            mishaps::a_store_beside_another_takes_no_text_from_it,
            mishaps::only_texts_that_are_named_come_back,
            mishaps::a_copy_is_read_by_two_at_once,
            mishaps::a_copy_that_goes_while_it_is_read_is_no_short_copy,
            mishaps::a_restore_that_was_cut_off_goes_on,
            mishaps::another_month_leaves_a_restore_that_was_cut_off_as_it_is,
            mishaps::a_month_begun_anew_is_not_taken_for_a_restored_one,
        );
    };
}
use over;

mod sqlite {
    crate::backup::over!(crate::backup::place::Place::sqlite());
    crate::backup::over!(
        crate::backup::place::Place::sqlite();
        mishaps::a_log_left_behind_is_not_read_into_a_restored_month,
    );
}

mod engine_dedicated {
    crate::backup::over!(crate::backup::place::Place::engine(difylog::store::elastic::Tenancy::Dedicated));
    crate::backup::over!(
        crate::backup::place::Place::engine(difylog::store::elastic::Tenancy::Dedicated);
        cases::a_month_behind_an_alias_comes_back,
        mishaps::another_vault_keeps_what_this_one_does_not_know,
        mishaps::a_closed_index_is_told_and_not_left_out,
        mishaps::an_opened_copy_that_nobody_closed_goes_after_a_day,
    );
}

mod engine_shared {
    crate::backup::over!(
        crate::backup::place::Place::engine(difylog::store::elastic::Tenancy::Shared);
        cases::a_store_destroyed_is_restored_equal_while_writing,
    );
}
