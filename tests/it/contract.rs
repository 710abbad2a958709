//! The one contract suite: what every store must do, and what it must do that names a capability. The cases know no store;
//! each store is a `Subject` that runs them. Cases share one store: they use tenants of their own and never count on an empty one.

mod app_logs;
mod copies;
mod documents;
mod engine;
mod engine_admin;
mod engine_aliases;
mod engine_queries;
mod engine_retired;
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
mod toy;
mod verdicts;
mod walks;

/// The cases that need nothing that a store may lack.
macro_rules! of_every_store {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
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
            months::dropping_a_month_drops_only_it,
            months::counts_are_per_month_and_kind,
            months::sizes_are_per_month,
            state::an_entry_is_written_over_its_version_only,
            state::one_of_many_writers_wins_each_version,
            state::entries_are_listed_by_prefix_in_order,
            documents::stretches_of_documents_are_as_the_model_says,
            documents::a_stretch_of_large_documents_is_short,
            documents::a_stretch_of_large_graphs_is_short,
            queries::lists_of_runs_are_as_the_model_says,
            queries::lists_of_nodes_are_as_the_model_says,
            queries::a_position_need_not_be_a_row,
            queries::searches_count_up_to_a_bound,
            queries::records_and_summaries_come_by_their_ids,
            walks::walks_during_writing_skip_and_repeat_nothing,
            walks::no_answer_holds_anything_of_another_tenant,
        }
    };
}
use of_every_store;

/// Those that look for keywords.
macro_rules! with_text_search {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
            months::reading_goes_on_while_months_come_and_go,
            queries::any_stretch_of_a_text_finds_it,
            spellings::equal_spellings_find_each_other,
            spellings::an_accent_makes_another_letter,
        }
    };
}
use with_text_search;

/// Those that list app logs.
macro_rules! with_app_logs {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
            app_logs::pages_of_app_logs_are_as_the_model_says,
        }
    };
}
use with_app_logs;

/// Those that count.
macro_rules! with_statistics {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
            copies::a_run_across_the_end_of_its_month_stays_where_it_began,
            statistics::days_are_as_the_model_says,
            statistics::facets_and_histograms_are_as_the_model_says,
        }
    };
}
use with_statistics;

/// Those that take stock.
macro_rules! with_inventory {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
            scan::walks_meet_every_document_once_by_every_condition,
            scan::a_walk_over_every_copy_meets_the_superseded_ones,
            scan::what_shares_a_cursor_comes_in_one_answer,
            scan::a_walk_knows_where_it_ends,
            scan::children_of_runs_are_found_in_every_month,
            scan::tenants_are_counted_per_month_and_kind,
            erase::a_migration_marks_only_what_it_wrote,
        }
    };
}
use with_inventory;

/// Those that remove records.
macro_rules! with_erasure {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
            erase::a_purged_tombstone_lets_the_record_return,
            erase::a_lifted_tombstone_lets_its_record_alone_return,
            erase::an_erasure_holds_for_its_revision_only,
            erase::a_condition_is_about_the_newest_copy,
            erase::a_retired_month_does_not_come_back,
            erase::graphs_of_a_tenant_go_after_its_runs,
            erase::what_leaves_nothing_can_be_written_again_at_once,
            erase::another_tenants_record_of_the_same_id_stays,
        }
    };
}
use with_erasure;

/// Those that need several of them.
macro_rules! with_everything {
    ($what:ident!($($subject:tt)*)) => {
        crate::contract::$what! {
            $($subject)*;
            copies::a_run_that_ended_in_two_months_is_one_in_every_answer,
            copies::a_node_that_ended_in_two_months_is_one_in_every_answer,
            erase::a_tombstone_keeps_late_writes_out_of_every_month,
            spellings::creators_of_logs_are_found_by_any_spelling,
        }
    };
}
use with_everything;

/// A test for each case.
macro_rules! cases {
    ($subject:expr; $($module:ident :: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::contract::$module::$case(&$subject.await).await;
            }
        )+
    };
}
use cases;

/// How many cases there are.
macro_rules! number {
    (; $($module:ident :: $case:ident,)+) => { [$(stringify!($case)),+].len() };
}
use number;

/// Runs every case of the contract over the subject that the expression makes. The store must name what it is tried for.
macro_rules! contract {
    ($($subject:tt)*) => {
        crate::contract::of_every_store!(cases!($($subject)*));
        crate::contract::with_text_search!(cases!($($subject)*));
        crate::contract::with_app_logs!(cases!($($subject)*));
        crate::contract::with_statistics!(cases!($($subject)*));
        crate::contract::with_inventory!(cases!($($subject)*));
        crate::contract::with_erasure!(cases!($($subject)*));
        crate::contract::with_everything!(cases!($($subject)*));

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn it_names_what_it_is_tried_for() {
            use difylog::store::Capability::{AppLogs, Erasure, Inventory, Statistics, TextSearch};
            let store = ($($subject)*).await.store;
            for capability in [TextSearch, AppLogs, Statistics, Inventory, Erasure] {
                assert_eq!(store.need(capability), Ok(()));
            }
        }
    };
}
use contract;

#[test]
fn no_case_is_lost() {
    let capable = [
        with_text_search!(number!()),
        with_app_logs!(number!()),
        with_statistics!(number!()),
        with_inventory!(number!()),
        with_erasure!(number!()),
        with_everything!(number!()),
    ];
    assert_eq!((of_every_store!(number!()), capable), (36, [4, 1, 3, 7, 8, 4]));
}
