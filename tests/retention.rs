//! Retention over both stores: what is past its days goes, everything else stays, and nothing comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "retention/cases.rs"]
mod cases;
#[path = "retention/kept.rs"]
mod kept;
#[path = "support/records.rs"]
mod records;

/// Every case, over the site that the expression makes.
macro_rules! over {
    ($site:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::cases::$case(&$site.await).await;
            }
        )+
    };
    ($site:expr) => {
        crate::over!(
            $site;
            a_month_goes_on_the_schedule_of_its_data,
            tenants_keep_what_their_days_allow,
            the_month_of_the_cutoff_goes_in_part,
            a_late_event_does_not_return,
            a_typing_error_is_stopped,
            one_process_at_a_time,
            payloads_go_with_their_month,
            a_worker_removes_once_per_interval,
        );
    };
}
use over;

mod sqlite {
    crate::over!(crate::kept::Kept::sqlite());
}

mod engine_dedicated {
    crate::over!(crate::kept::Kept::engine(difylog::store::elastic::Tenancy::Dedicated));
}

mod engine_shared {
    crate::over!(crate::kept::Kept::engine(difylog::store::elastic::Tenancy::Shared));
}
