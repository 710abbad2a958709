//! The one contract suite: what every store must do. The cases know no store; each store is a `Subject` that runs them
//! all. Cases share one store: they use tenants of their own and never count on an empty one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

#[path = "contract/app_logs.rs"]
mod app_logs;
#[path = "contract/copies.rs"]
mod copies;
#[path = "contract/documents.rs"]
mod documents;
#[path = "contract/engine.rs"]
mod engine;
#[path = "contract/engine_admin.rs"]
mod engine_admin;
#[path = "contract/engine_aliases.rs"]
mod engine_aliases;
#[path = "contract/engine_queries.rs"]
mod engine_queries;
#[path = "contract/engine_search.rs"]
mod engine_search;
#[path = "contract/erase.rs"]
mod erase;
#[path = "contract/lists.rs"]
mod lists;
#[path = "support/model.rs"]
mod model;
#[path = "contract/months.rs"]
mod months;
#[path = "support/nodes.rs"]
mod nodes;
#[path = "contract/order.rs"]
mod order;
#[path = "contract/queries.rs"]
mod queries;
#[path = "support/records.rs"]
mod records;
#[path = "contract/round_trip.rs"]
mod round_trip;
#[path = "contract/scan.rs"]
mod scan;
#[path = "contract/sqlite.rs"]
mod sqlite;
#[path = "contract/sqlite_erased.rs"]
mod sqlite_erased;
#[path = "contract/sqlite_faults.rs"]
mod sqlite_faults;
#[path = "contract/sqlite_files.rs"]
mod sqlite_files;
#[path = "contract/sqlite_kill.rs"]
mod sqlite_kill;
#[path = "contract/sqlite_life.rs"]
mod sqlite_life;
#[path = "contract/sqlite_readers.rs"]
mod sqlite_readers;
#[path = "contract/sqlite_search.rs"]
mod sqlite_search;
#[path = "contract/state.rs"]
mod state;
#[path = "contract/statistics.rs"]
mod statistics;
#[path = "contract/subject.rs"]
mod subject;
#[path = "contract/verdicts.rs"]
mod verdicts;
#[path = "contract/walks.rs"]
mod walks;
#[path = "support/world.rs"]
mod world;

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
            round_trip::what_a_row_has_beside_its_record,
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
            copies::a_run_that_ended_in_two_months_is_one_in_every_answer,
            copies::a_node_that_ended_in_two_months_is_one_in_every_answer,
            copies::a_run_across_the_end_of_its_month_stays_where_it_began,
            months::dropping_a_month_drops_only_it,
            months::reading_goes_on_while_months_come_and_go,
            months::counts_are_per_month_and_kind,
            months::sizes_are_per_month,
            scan::walks_meet_every_document_once_by_every_condition,
            scan::a_walk_over_every_copy_meets_the_superseded_ones,
            scan::what_shares_a_cursor_comes_in_one_answer,
            scan::a_walk_knows_where_it_ends,
            scan::children_of_runs_are_found_in_every_month,
            scan::tenants_are_counted_per_month_and_kind,
            erase::a_tombstone_keeps_late_writes_out_of_every_month,
            erase::a_purged_tombstone_lets_the_record_return,
            erase::a_lifted_tombstone_lets_its_record_alone_return,
            erase::an_erasure_holds_for_its_revision_only,
            erase::a_condition_is_about_the_newest_copy,
            erase::a_migration_marks_only_what_it_wrote,
            erase::a_retired_month_does_not_come_back,
            erase::graphs_of_a_tenant_go_after_its_runs,
            state::an_entry_is_written_over_its_version_only,
            state::one_of_many_writers_wins_each_version,
            state::entries_are_listed_by_prefix_in_order,
            erase::what_leaves_nothing_can_be_written_again_at_once,
            erase::another_tenants_record_of_the_same_id_stays,
            documents::stretches_of_documents_are_as_the_model_says,
            documents::a_stretch_of_large_documents_is_short,
            queries::lists_of_runs_are_as_the_model_says,
            queries::lists_of_nodes_are_as_the_model_says,
            queries::a_position_need_not_be_a_row,
            queries::searches_count_up_to_a_bound,
            queries::records_and_summaries_come_by_their_ids,
            queries::any_stretch_of_a_text_finds_it,
            app_logs::pages_of_app_logs_are_as_the_model_says,
            statistics::days_are_as_the_model_says,
            statistics::facets_and_histograms_are_as_the_model_says,
            walks::walks_during_writing_skip_and_repeat_nothing,
            walks::no_answer_holds_anything_of_another_tenant,
        );
    };
}
use contract;
