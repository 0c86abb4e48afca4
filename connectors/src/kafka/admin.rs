//! What is asked of a cluster beside records: what topics are set to, and to make one.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Wake, Waker};
use std::thread::Thread;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::context::Context;
use super::problem::{Problem, in_words};
use super::settings::Kafka;

/// As many replicas as the brokers make unless told otherwise.
const USUAL_REPLICAS: i32 = -1;

/// A client that may ask; none where the cluster wants a token, which this kind of client never
/// fetches.
fn client(kafka: &Kafka) -> Option<(AdminClient<Context>, AdminOptions)> {
    if kafka.waits_for_token() {
        return None;
    }
    let client = kafka.config(&[]).ok()?;
    let client = client.create_with_context(kafka.context(Arc::default()));
    let patience = Some(kafka.how_long_to_wait());
    let options = AdminOptions::new()
        .request_timeout(patience)
        .operation_timeout(patience);
    Some((client.ok()?, options))
}

/// What a topic is set to, where the brokers tell: that takes the right to describe it.
pub(super) fn setting(kafka: &Kafka, topic: &str, name: &str) -> Option<String> {
    let (client, options) = client(kafka)?;
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = wait_for(client.describe_configs(&asked, &options));
    let told = told.ok()?.pop()?.ok()?;
    told.get(name)?.value.clone()
}

/// Makes a topic of one partition, unless it is there by now.
pub(super) fn create(kafka: &Kafka, topic: &str, settings: &[(&str, &str)]) -> Result<(), Problem> {
    let remedy = format!(
        "create the topic, with {}, or have the user given the right to",
        settings
            .iter()
            .map(|(name, value)| format!("`{name}={value}`"))
            .collect::<Vec<_>>()
            .join(" and ")
    );
    let refused = |reason: String| {
        Problem::new(
            format!("topic `{topic}` cannot be created: {reason}"),
            remedy.clone(),
        )
    };
    let Some((client, options)) = client(kafka) else {
        return Err(refused("clients that need a token cannot do so".to_owned()));
    };
    let mut new = NewTopic::new(topic, 1, TopicReplication::Fixed(USUAL_REPLICAS));
    for (name, value) in settings {
        new = new.set(name, value);
    }
    let made = wait_for(client.create_topics([&new], &options));
    let made = made.map_err(|error: KafkaError| refused(in_words(&error)))?;
    match made.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::TopicAlreadyExists => {
            Err(refused(code.to_string()))
        }
        _ => Ok(()),
    }
}

/// Waits for a future on this thread.
fn wait_for<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Task::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
