//! The one contract suite: what every store must do. The cases know no store; each store is a `Subject` that runs them
//! all. Cases share one store: they use tenants of their own and never count on an empty one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "contract/engine.rs"]
mod engine;
#[path = "contract/engine_admin.rs"]
mod engine_admin;
#[path = "contract/lists.rs"]
mod lists;
#[path = "contract/months.rs"]
mod months;
#[path = "contract/order.rs"]
mod order;
#[path = "support/records.rs"]
mod records;
#[path = "contract/round_trip.rs"]
mod round_trip;
#[path = "contract/sqlite.rs"]
mod sqlite;
#[path = "contract/sqlite_faults.rs"]
mod sqlite_faults;
#[path = "contract/sqlite_kill.rs"]
mod sqlite_kill;
#[path = "contract/subject.rs"]
mod subject;
#[path = "contract/verdicts.rs"]
mod verdicts;

/// Runs every case of the contract over the subject that the expression makes.
macro_rules! contract {
    ($subject:expr; $($module:ident :: $case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::$module::$case(&$subject.await).await;
            }
        )+
    };
    ($subject:expr) => {
        crate::contract!(
            $subject;
            round_trip::every_kind_with_every_column,
            round_trip::nulls_and_empty_texts,
            round_trip::extremes,
            round_trip::hostile_texts_are_data,
            round_trip::truncation_marks,
            round_trip::a_graph_is_stored_once_and_put_back,
            round_trip::unknown_ids_are_none,
            verdicts::older_is_superseded_and_equal_is_stored,
            verdicts::one_verdict_per_action_in_order,
            verdicts::no_actions_no_verdicts,
            verdicts::tenants_with_the_same_id_never_mix,
            order::any_order_ends_in_the_same_documents,
            order::any_order_over_concurrent_writers,
            lists::nodes_of_a_run_are_complete_and_ordered,
            lists::walking_pages_meets_every_run_once,
            lists::pages_are_of_one_app_and_tenant,
            lists::pages_carry_every_light_column,
            months::a_run_resumed_in_the_next_month_shows_once,
            months::a_node_restarted_in_the_next_month_shows_once,
            months::dropping_a_month_drops_only_it,
            months::counts_are_per_month_and_kind,
        );
    };
}
use contract;
