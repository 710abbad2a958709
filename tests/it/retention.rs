//! Retention over both stores: what is past its days goes, everything else stays, and nothing comes back.

mod cases;
mod closed;
mod kept;
mod spared;
mod texts;

/// Every case, over the site that the expression makes.
macro_rules! over {
    ($site:expr; $($module:ident :: $case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::retention::$module::$case(&$site.await).await;
            }
        )+
    };
    ($site:expr) => {
        crate::retention::over!(
            $site;
            cases::a_month_goes_on_the_schedule_of_its_data,
            cases::tenants_keep_what_their_days_allow,
            cases::the_month_of_the_cutoff_goes_in_part,
            cases::a_late_event_does_not_return,
            cases::a_typing_error_is_stopped,
            cases::one_process_at_a_time,
            cases::payloads_go_with_their_month,
            cases::a_worker_removes_once_per_interval,
            spared::who_is_not_past_its_days_can_write_into_a_dropped_month,
            spared::a_default_without_days_spares_whoever_comes,
            spared::what_came_after_the_plan_stays,
            texts::a_deleted_record_takes_its_full_texts_along,
            texts::deleted_nodes_take_their_full_texts_of_every_month_along,
            texts::a_part_of_a_month_takes_its_full_texts_along,
            texts::a_text_of_a_late_event_goes_with_the_next_removal,
            texts::what_an_interrupted_removal_left_is_found,
            texts::a_sweep_removes_what_no_record_names_and_nothing_else,
            texts::a_clock_years_ahead_removes_nothing,
        );
    };
}
use over;

mod sqlite {
    crate::retention::over!(crate::retention::kept::Kept::sqlite());
}

/// What operators of an engine do.
macro_rules! over_engine {
    ($tenancy:ident) => {
        crate::retention::over!(
            crate::retention::kept::Kept::engine(difylog::store::elastic::Tenancy::$tenancy);
            closed::a_month_with_a_closed_index_is_left_until_it_is_opened,
            closed::what_is_closed_after_the_plan_stays,
            closed::a_blocked_index_keeps_its_tombstones_and_hinders_nothing_else,
        );
    };
}
use over_engine;

mod engine_dedicated {
    crate::retention::over_engine!(Dedicated);
    crate::retention::over!(crate::retention::kept::Kept::engine(difylog::store::elastic::Tenancy::Dedicated));
}

mod engine_shared {
    crate::retention::over_engine!(Shared);
    crate::retention::over!(crate::retention::kept::Kept::engine(difylog::store::elastic::Tenancy::Shared));
}
