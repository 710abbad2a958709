//! The one contract suite: what every store must do. The cases know no store; each store is a `Subject` that runs them
//! all. Cases share one store: they use tenants of their own and never count on an empty one.

mod app_logs;
mod copies;
mod documents;
mod engine;
mod engine_admin;
mod engine_aliases;
mod engine_queries;
mod engine_search;
mod erase;
mod lists;
mod memory;
mod months;
mod order;
mod queries;
mod round_trip;
mod scan;
mod spellings;
mod sqlite;
mod sqlite_erased;
mod sqlite_faults;
mod sqlite_files;
mod sqlite_kill;
mod sqlite_life;
mod sqlite_readers;
mod sqlite_search;
mod state;
mod statistics;
mod subject;
mod verdicts;
mod walks;

/// Runs every case of the contract over the subject that the expression makes.
macro_rules! contract {
    ($subject:expr; $($module:ident :: $case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::contract::$module::$case(&$subject.await).await;
            }
        )+
    };
    ($subject:expr) => {
        crate::contract::contract!(
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
            spellings::equal_spellings_find_each_other,
            spellings::an_accent_makes_another_letter,
            spellings::creators_of_logs_are_found_by_any_spelling,
            app_logs::pages_of_app_logs_are_as_the_model_says,
            statistics::days_are_as_the_model_says,
            statistics::facets_and_histograms_are_as_the_model_says,
            walks::walks_during_writing_skip_and_repeat_nothing,
            walks::no_answer_holds_anything_of_another_tenant,
        );
    };
}
use contract;
