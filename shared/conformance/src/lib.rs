//! What each port of `runyard-runs` promises, as tests that every implementation passes.
//!
//! A test is an `async fn` that takes the port as a trait object and panics if a promise is broken. It creates its own
//! apps and runs, with new ids, so that it also works on a store that holds other data. The macros
//! ([`run_store_tests`], [`unreadable_run_tests`], [`file_store_tests`], [`memory_store_tests`],
//! [`storage_usage_tests`], [`open_streams_tests`], [`queue_tests`]) define a `#[tokio::test]` for each, so that an
//! implementation cannot omit one.
//!
//! Depends on no implementation. Does not test what the ports leave open: the order of runs of the same millisecond in
//! a list, and whether an append to a run that does not exist is refused or has no effect.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "these are tests")]

pub mod files;
pub mod list;
pub mod log;
pub mod make;
pub mod memory;
mod model;
pub mod queue;
pub mod record;
pub mod remember;
pub mod service;
pub mod streams;
pub mod unreadable;
pub mod usage;

/// A `#[tokio::test]` for each promise of `RunStore`. Takes the name of an `async fn() -> (Arc<dyn RunStore>, T)` that
/// returns an empty store, and a value that must live as long as the store.
#[macro_export]
macro_rules! run_store_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, log:
            create_is_put_if_absent, creators_race_for_one_run, append_is_put_if_absent, writers_race_for_one_place,
            writers_race_through_a_log, what_is_written_is_read, read_starts_at_the_entry_that_holds_a_sequence,
            ranges_are_read_alone, long_logs_are_read_in_pieces, there_is_no_run_where_none_was_created, changed_wakes_on_an_append,
            changed_returns_at_once_if_the_log_is_ahead, changed_gives_up_in_time,
        }
        $crate::tests! { $fixture, record:
            commit_is_all_or_nothing, guards_are_judged_on_the_record, a_lease_is_free_when_it_is_due,
            updates_change_what_they_say, a_guard_lets_one_of_many_through, idempotency_keys_bind_once,
            due_runs_come_longest_due_first, ended_runs_expire_with_all_that_is_theirs,
        }
        $crate::tests! { $fixture, list:
            lists_are_as_the_model_says, pages_walk_every_run_once, a_walk_is_not_disturbed_by_new_runs,
            total_counts_are_capped, pages_of_very_large_runs_are_refused, cursors_belong_to_their_query, what_is_not_served_is_refused,
        }
    };
}

/// A `#[tokio::test]` for each promise of `RunStore` about runs that cannot be read. Takes the name of an
/// `async fn() -> (Damaged, T)`, see [`unreadable::Damaged`].
#[macro_export]
macro_rules! unreadable_run_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, unreadable:
            an_unreadable_run_is_left_out_of_lists, an_unreadable_run_is_postponed,
            an_unreadable_run_stops_no_expiry, an_unreadable_run_stops_no_sweep,
        }
    };
}

/// A `#[tokio::test]` for each promise of `FileStore`. Takes the name of an `async fn() -> (Arc<dyn FileStore>, T)`.
#[macro_export]
macro_rules! file_store_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, files:
            what_is_stored_is_read_in_pieces, an_unfinished_upload_leaves_nothing, files_belong_to_one_app,
            names_are_never_paths, deleted_and_expired_files_are_gone,
        }
    };
}

/// A `#[tokio::test]` for each promise of `MemoryStore`. Takes the name of an
/// `async fn() -> (Arc<dyn MemoryStore>, T)`.
#[macro_export]
macro_rules! memory_store_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, remember:
            the_newest_are_remembered, long_turns_are_remembered, a_turn_is_kept_once, conversations_are_apart,
            what_has_expired_is_forgotten,
        }
    };
}

/// A `#[tokio::test]` for each promise of `StorageUsage`. Takes the name of an `async fn() -> (usage::Counted, T)`.
#[macro_export]
macro_rules! storage_usage_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, usage:
            what_is_stored_is_counted, what_is_not_stored_is_not_counted, days_that_are_over_count_no_more,
            expired_runs_are_swept_out_of_the_count, a_deleted_file_counts_no_more,
            writes_at_the_same_time_are_all_counted,
        }
    };
}

/// A `#[tokio::test]` for each promise of `OpenStreams`. Takes the name of an
/// `async fn() -> (Arc<dyn OpenStreams>, T)`.
#[macro_export]
macro_rules! open_streams_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, streams:
            places_are_limited, a_race_is_for_the_places_there_are, apps_have_their_own_places,
        }
    };
}

/// A `#[tokio::test]` for each promise of `RunQueue`. Takes the name of an `async fn() -> (Ends, T)`, see
/// [`queue::Ends`].
#[macro_export]
macro_rules! queue_tests {
    ($fixture:ident) => {
        $crate::tests! { $fixture, queue:
            what_is_enqueued_is_delivered, receivers_share_the_work, a_delayed_run_comes_late, apps_take_turns,
        }
    };
}

/// Defines the tests of one module of this crate, for the macros above.
#[doc(hidden)]
#[macro_export]
macro_rules! tests {
    ($fixture:ident, $module:ident: $($test:ident,)+) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let (port, keep) = super::$fixture().await;
                    $crate::$module::$test(port).await;
                    drop(keep);
                }
            )+
        }
    };
}
