//! The suite of the ports on the simplest implementation: a failure here is an error of the suite.

use runyard_conformance::{
    memory::{MemoryFiles, MemoryRuns, MemoryUsage},
    unreadable::Damaged,
    usage::Counted,
};
use runyard_runs::{FileStore, MemoryStore, OpenStreams, ProcessMemory, ProcessStreams, RunStore};
use std::sync::Arc;

async fn runs() -> (Arc<dyn RunStore>, ()) {
    (Arc::new(MemoryRuns::with_gaps()), ())
}

async fn damaged_runs() -> (Damaged, ()) {
    let runs = Arc::new(MemoryRuns::with_gaps());
    (Damaged { runs: Arc::<MemoryRuns>::clone(&runs), damage: runs }, ())
}

async fn file_store() -> (Arc<dyn FileStore>, ()) {
    (Arc::<MemoryFiles>::default(), ())
}

async fn memories() -> (Arc<dyn MemoryStore>, ()) {
    (Arc::<ProcessMemory>::default(), ())
}

async fn counted() -> (Counted, ()) {
    let usage = Arc::<MemoryUsage>::default();
    let runs = Arc::new(MemoryRuns::with_gaps().counted_by(&usage));
    let files = Arc::new(MemoryFiles::counted_by(&usage));
    (Counted { runs, files, memories: None, usage }, ())
}

async fn open_streams() -> (Arc<dyn OpenStreams>, ()) {
    (Arc::<ProcessStreams>::default(), ())
}

runyard_conformance::run_store_tests!(runs);
runyard_conformance::unreadable_run_tests!(damaged_runs);
runyard_conformance::file_store_tests!(file_store);
runyard_conformance::memory_store_tests!(memories);
runyard_conformance::storage_usage_tests!(counted);
runyard_conformance::open_streams_tests!(open_streams);
