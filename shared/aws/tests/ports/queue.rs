use crate::place::Place;
use async_trait::async_trait;
use aws_sdk_sqs::types::MessageSystemAttributeName as Attribute;
use runyard_conformance::{
    make,
    queue::{Ends, Receive},
};
use runyard_runs::{AppId, RunId, RunQueue};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

async fn run_queue() -> (Ends, ()) {
    let place = Place::new().await;
    let receiver =
        Receiver { url: place.config.queue_url, sqs: place.clients.sqs, waiting: Mutex::default() };
    (Ends { queue: place.aws.queue(), receive: Arc::new(receiver) }, ())
}

runyard_conformance::queue_tests!(run_queue);

/// Receives like AWS's fair queues, which the emulator does not implement: message groups take turns. Knows a run's app
/// only by its message group.
struct Receiver {
    sqs: aws_sdk_sqs::Client,
    url: String,
    waiting: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    messages: HashMap<String, VecDeque<String>>,
    turns: VecDeque<String>,
}

impl Receiver {
    async fn fetch(&self, groups: &mut Groups) {
        loop {
            let received = self.sqs.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let received =
                received.message_system_attribute_names(Attribute::All).send().await.unwrap().messages;
            let Some(received) = received.filter(|received| !received.is_empty()) else { return };
            for message in received {
                let delete = self.sqs.delete_message().queue_url(&self.url);
                delete.set_receipt_handle(message.receipt_handle).send().await.unwrap();
                let group = message.attributes.unwrap()[&Attribute::MessageGroupId].clone();
                let waiting = groups.messages.entry(group.clone()).or_default();
                if waiting.is_empty() {
                    groups.turns.push_back(group);
                }
                waiting.push_back(message.body.unwrap());
            }
        }
    }
}

#[async_trait]
impl Receive for Receiver {
    async fn receive(&self) -> (AppId, RunId) {
        loop {
            let mut groups = self.waiting.lock().await;
            self.fetch(&mut groups).await;
            if let Some(group) = groups.turns.pop_front() {
                let messages = groups.messages.get_mut(&group).unwrap();
                let body = messages.pop_front().unwrap();
                if !messages.is_empty() {
                    groups.turns.push_back(group.clone());
                }
                // The body is the run's id and nothing else.
                return (group.parse().unwrap(), body.parse().unwrap());
            }
            drop(groups);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_delay_over_15_minutes_sends_no_message() {
    let place = Place::new().await;
    let queue = place.aws.queue();
    let run = make::run(make::app());
    queue.enqueue(run.app, run.id, Duration::from_secs(901)).await.unwrap();
    queue.enqueue(run.app, run.id, Duration::from_mins(15)).await.unwrap();
    let attributes = place.clients.sqs.get_queue_attributes().queue_url(&place.config.queue_url);
    let attributes = attributes.attribute_names("All".into()).send().await.unwrap().attributes.unwrap();
    let count = |name: &str| attributes[&name.into()].as_str();
    assert_eq!(count("ApproximateNumberOfMessagesDelayed"), "1");
    assert_eq!(count("ApproximateNumberOfMessages"), "0");
}
