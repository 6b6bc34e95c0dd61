//! The conformance suite, on an emulator of AWS.

mod fixture;

use async_trait::async_trait;
use aws_sdk_dynamodb::types::AttributeValue;
use fixture::{Stack, stack::FixedClock};
use runyard_conformance::{
    make,
    memory::MemoryQueue,
    service::Backend,
    unreadable::{Damage, Damaged, How},
    usage::Counted,
};
use runyard_runs::{MemoryStore, OpenStreams, RunId, RunStore, SystemClock};
use std::sync::Arc;

/// The clock is set to the time of the suite's runs, which lies in the past, so that none has expired.
async fn runs() -> (Arc<dyn RunStore>, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    (stack.aws.runs(), stack)
}

async fn damaged_runs() -> (Damaged, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    let damage = Arc::new(Table(stack.clients.dynamodb.clone(), stack.config.table.clone()));
    (Damaged { runs: stack.aws.runs(), damage }, stack)
}

/// Writes to the table without the ports.
struct Table(aws_sdk_dynamodb::Client, String);

#[async_trait]
impl Damage for Table {
    async fn damage(&self, run: RunId, how: How) {
        let (sk, update, value) = match how {
            How::LaterVersion => {
                ("LOG#000000000001", "SET #name = :value", r#"{"v":99,"e":"in another format"}"#)
            }
            How::Entry => ("LOG#000000000001", "SET #name = :value", "{"),
            How::Record => ("RUN", "SET #name = :value", "many"),
            How::Content => ("RUN", "REMOVE #name", ""),
        };
        let name = if how == How::Record { "rev" } else { "body" };
        let update = self
            .0
            .update_item()
            .table_name(&self.1)
            .key("PK", AttributeValue::S(format!("RUN#{run}")))
            .key("SK", AttributeValue::S(sk.to_owned()))
            .condition_expression("attribute_exists(#name)")
            .expression_attribute_names("#name", name)
            .update_expression(update);
        let value = (how != How::Content).then(|| (":value".to_owned(), AttributeValue::S(value.to_owned())));
        let value = value.map(|value| [value].into());
        update.set_expression_attribute_values(value).send().await.expect("the item is damaged");
    }
}

async fn memories() -> (Arc<dyn MemoryStore>, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    (stack.aws.memories(), stack)
}

async fn counted() -> (Counted, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    let (runs, files, usage) = (stack.aws.runs(), stack.aws.files(), stack.aws.usage());
    (Counted { runs, files, memories: Some(stack.aws.memories()), usage }, stack)
}

async fn open_streams() -> (Arc<dyn OpenStreams>, Stack) {
    let stack = Stack::new(Arc::new(FixedClock(make::NOW))).await;
    (stack.aws.streams(), stack)
}

/// A store that spreads each app's runs over several keys of the index.
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
        files: stack.aws.files(),
        usage: stack.aws.usage(),
        queue,
        receive: Arc::new(move || {
            let receiver = Arc::clone(&receiver);
            Box::pin(async move { receiver.receive().await })
        }),
        keep: Box::new(stack),
    }
}

runyard_conformance::run_store_tests!(runs);
runyard_conformance::unreadable_run_tests!(damaged_runs);
runyard_conformance::memory_store_tests!(memories);
runyard_conformance::storage_usage_tests!(counted);
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
