//! How much a topic takes at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as Task, Poll, Wake, Waker};
use std::thread::Thread;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};

use super::context::Context;
use super::settings::Kafka;

/// The bytes of a batch of records beyond which the brokers refuse it, where they tell: that takes the
/// right to describe the topic's configuration.
pub(super) fn batch_bytes_max(kafka: &Kafka, topic: &str) -> Option<usize> {
    if kafka.waits_for_token() {
        // This kind of client never asks for its token.
        return None;
    }
    let config = kafka.config(&[]).ok()?;
    let admin: AdminClient<Context> = config
        .create_with_context(kafka.context(Arc::default()))
        .ok()?;
    let options = AdminOptions::new().request_timeout(Some(kafka.how_long_to_wait()));
    let asked = [ResourceSpecifier::Topic(topic)];
    let told = wait_for(admin.describe_configs(&asked, &options));
    let told = told.ok()?.pop()?.ok()?;
    told.get("max.message.bytes")?.value.as_ref()?.parse().ok()
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
