//! The conformance suite, on an emulator of AWS.

mod fixture;

use fixture::{Stack, stack::FixedClock};
use runyard_conformance::{
    make,
    memory::{MemoryFiles, MemoryQueue},
    service::Backend,
};
use runyard_runs::{MemoryStore, OpenStreams, RunStore, SystemClock};
use std::sync::Arc;

/// The suite's runs are in the past, where none of them has expired.
async fn runs() -> (Arc<dyn RunStore>, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    (stack.aws.runs(), stack)
}

async fn memories() -> (Arc<dyn MemoryStore>, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    (stack.aws.memories(), stack)
}

async fn open_streams() -> (Arc<dyn OpenStreams>, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    (stack.aws.streams(), stack)
}

/// The same with each app's runs spread over several keys of the index.
async fn sharded_runs() -> (Arc<dyn RunStore>, Stack) {
    let stack = Stack::with_shards(Arc::new(FixedClock(make::NOW)), 3).await;
    (stack.aws.runs(), stack)
}

async fn backend() -> Backend {
    let stack = Stack::new(Arc::new(SystemClock)).await;
    let queue = Arc::<MemoryQueue>::default();
    let receiver = Arc::clone(&queue);
    Backend {
        runs: stack.aws.runs(),
        files: Arc::<MemoryFiles>::default(),
        queue,
        receive: Arc::new(move || {
            let receiver = Arc::clone(&receiver);
            Box::pin(async move { receiver.receive().await })
        }),
        keep: Box::new(stack),
    }
}

runyard_conformance::run_store_tests!(runs);
runyard_conformance::memory_store_tests!(memories);
runyard_conformance::open_streams_tests!(open_streams);

mod sharded {
    use super::sharded_runs;

    runyard_conformance::tests! { sharded_runs, list:
        lists_are_as_the_model_says, pages_walk_every_run_once, a_walk_is_not_disturbed_by_new_runs,
        cursors_belong_to_their_query,
    }
}

mod service {
    runyard_conformance::service_conformance!(super::backend().await);
}
