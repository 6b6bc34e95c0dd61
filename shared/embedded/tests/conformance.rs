//! The conformance suite, on SQLite and the file system.

use runyard_embedded::{Embedded, Options};
use runyard_runs::{RunStore, SystemClock, SystemIds};
use std::sync::Arc;
use tempfile::TempDir;

async fn runs() -> (Arc<dyn RunStore>, (Embedded, TempDir)) {
    let (embedded, dir) = open();
    (embedded.runs(), (embedded, dir))
}

fn open() -> (Embedded, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(SystemClock);
    let embedded = Embedded::open(dir.path(), clock, &SystemIds, Options::default()).expect("it opens");
    (embedded, dir)
}

runyard_conformance::tests! { runs, log:
            create_is_put_if_absent, creators_race_for_one_run, append_is_put_if_absent, writers_race_for_one_place,
            writers_race_through_a_log, what_is_written_is_read, read_starts_at_the_entry_that_holds_a_sequence,
            long_logs_are_read_in_pieces, there_is_no_run_where_none_was_created, changed_wakes_on_an_append,
            changed_returns_at_once_if_the_log_is_ahead, changed_gives_up_in_time,
}
runyard_conformance::tests! { runs, record:
            commit_is_all_or_nothing, guards_are_judged_on_the_record, a_lease_is_free_when_it_is_due,
            updates_change_what_they_say, a_guard_lets_one_of_many_through, idempotency_keys_bind_once,
            due_runs_come_longest_due_first, ended_runs_expire_with_all_that_is_theirs,
}
