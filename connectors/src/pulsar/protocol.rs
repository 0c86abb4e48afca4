//! The part of Pulsar's binary protocol that the connectors speak, as Protocol Buffers.
//!
//! Field numbers and meanings are those of Pulsar's `PulsarApi.proto`; what is not used is left out.

use prost::{Enumeration, Message};

/// The version that is spoken: the first in which acknowledgements are answered.
pub(super) const VERSION: i32 = 17;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub(super) struct MessageId {
    #[prost(uint64, required, tag = "1")]
    pub(super) ledger: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) entry: u64,
    /// Its place in the entry's batch; -1 outside a batch.
    #[prost(int32, optional, tag = "4", default = "-1")]
    pub(super) batch_index: Option<i32>,
}

impl MessageId {
    /// What is before the first message of every topic.
    pub(super) const EARLIEST: Self = Self {
        ledger: u64::MAX,
        entry: u64::MAX,
        batch_index: None,
    };
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct KeyValue {
    #[prost(string, required, tag = "1")]
    pub(super) key: String,
    #[prost(string, required, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum CompressionType {
    None = 0,
    Lz4 = 1,
    Zlib = 2,
    Zstd = 3,
    Snappy = 4,
}

/// What goes before the payload of an entry.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EntryMetadata {
    #[prost(string, required, tag = "1")]
    pub(super) producer_name: String,
    #[prost(uint64, required, tag = "2")]
    pub(super) sequence_id: u64,
    #[prost(uint64, required, tag = "3")]
    pub(super) publish_time_ms: u64,
    #[prost(message, repeated, tag = "4")]
    pub(super) properties: Vec<KeyValue>,
    #[prost(string, optional, tag = "6")]
    pub(super) partition_key: Option<String>,
    #[prost(enumeration = "CompressionType", optional, tag = "8")]
    pub(super) compression: Option<i32>,
    #[prost(uint32, optional, tag = "9")]
    pub(super) uncompressed_size: Option<u32>,
    #[prost(int32, optional, tag = "11")]
    pub(super) num_messages_in_batch: Option<i32>,
    #[prost(uint64, optional, tag = "12")]
    pub(super) event_time_ms: Option<u64>,
    /// Set where the payload is encrypted.
    #[prost(string, optional, tag = "14")]
    pub(super) encryption_algo: Option<String>,
    #[prost(bool, optional, tag = "17")]
    pub(super) partition_key_b64_encoded: Option<bool>,
    /// Set where the entry is none of a producer's, but says how a transaction ended.
    #[prost(int32, optional, tag = "20")]
    pub(super) marker_type: Option<i32>,
    #[prost(uint64, optional, tag = "24")]
    pub(super) highest_sequence_id: Option<u64>,
    #[prost(bool, optional, tag = "25")]
    pub(super) null_value: Option<bool>,
    /// Set where the entry is a part of a message only.
    #[prost(int32, optional, tag = "27")]
    pub(super) num_chunks_from_msg: Option<i32>,
}

/// What goes before each message of a batch.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SingleMetadata {
    #[prost(message, repeated, tag = "1")]
    pub(super) properties: Vec<KeyValue>,
    #[prost(string, optional, tag = "2")]
    pub(super) partition_key: Option<String>,
    #[prost(int32, required, tag = "3")]
    pub(super) payload_size: i32,
    #[prost(bool, optional, tag = "4")]
    pub(super) compacted_out: Option<bool>,
    #[prost(uint64, optional, tag = "5")]
    pub(super) event_time_ms: Option<u64>,
    #[prost(bool, optional, tag = "6")]
    pub(super) partition_key_b64_encoded: Option<bool>,
    #[prost(uint64, optional, tag = "8")]
    pub(super) sequence_id: Option<u64>,
    #[prost(bool, optional, tag = "9")]
    pub(super) null_value: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub(super) enum ServerError {
    Unknown = 0,
    Metadata = 1,
    Persistence = 2,
    Authentication = 3,
    Authorization = 4,
    ConsumerBusy = 5,
    ServiceNotReady = 6,
    ProducerBlockedQuotaExceededError = 7,
    ProducerBlockedQuotaExceededException = 8,
    Checksum = 9,
    UnsupportedVersion = 10,
    TopicNotFound = 11,
    SubscriptionNotFound = 12,
    ConsumerNotFound = 13,
    TooManyRequests = 14,
    TopicTerminated = 15,
    ProducerBusy = 16,
    InvalidTopicName = 17,
    IncompatibleSchema = 18,
    NotAllowed = 22,
    ProducerFenced = 25,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Connect {
    #[prost(string, required, tag = "1")]
    pub(super) client_version: String,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(super) auth_data: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "4")]
    pub(super) protocol_version: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub(super) auth_method_name: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) proxy_to_broker_url: Option<String>,
    #[prost(message, optional, tag = "10")]
    pub(super) feature_flags: Option<FeatureFlags>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct FeatureFlags {
    #[prost(bool, optional, tag = "1")]
    pub(super) supports_auth_refresh: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Connected {
    #[prost(int32, optional, tag = "3")]
    pub(super) max_message_size: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) response: Option<AuthData>,
    #[prost(int32, optional, tag = "3")]
    pub(super) protocol_version: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthData {
    #[prost(string, optional, tag = "1")]
    pub(super) method: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) data: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Subscribe {
    #[prost(string, required, tag = "1")]
    pub(super) topic: String,
    #[prost(string, required, tag = "2")]
    pub(super) subscription: String,
    /// 0 exclusive, 1 shared, 2 failover, 3 by key.
    #[prost(int32, required, tag = "3")]
    pub(super) sub_type: i32,
    #[prost(uint64, required, tag = "4")]
    pub(super) consumer_id: u64,
    #[prost(uint64, required, tag = "5")]
    pub(super) request_id: u64,
    #[prost(string, optional, tag = "6")]
    pub(super) consumer_name: Option<String>,
    #[prost(bool, optional, tag = "8")]
    pub(super) durable: Option<bool>,
    #[prost(message, optional, tag = "9")]
    pub(super) start_message_id: Option<MessageId>,
    /// 0 latest, 1 earliest.
    #[prost(int32, optional, tag = "13")]
    pub(super) initial_position: Option<i32>,
    #[prost(bool, optional, tag = "15")]
    pub(super) force_topic_creation: Option<bool>,
}

/// A request that names nothing but a topic.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartitionMetadata {
    #[prost(string, required, tag = "1")]
    pub(super) topic: String,
    #[prost(uint64, required, tag = "2")]
    pub(super) request_id: u64,
    /// Whether asking may create the topic.
    #[prost(bool, optional, tag = "6")]
    pub(super) metadata_auto_creation_enabled: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PartitionMetadataResponse {
    #[prost(uint32, optional, tag = "1")]
    pub(super) partitions: Option<u32>,
    #[prost(uint64, required, tag = "2")]
    pub(super) request_id: u64,
    #[prost(enumeration = "ServerError", optional, tag = "4")]
    pub(super) error: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub(super) message: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Lookup {
    #[prost(string, required, tag = "1")]
    pub(super) topic: String,
    #[prost(uint64, required, tag = "2")]
    pub(super) request_id: u64,
    #[prost(bool, optional, tag = "3")]
    pub(super) authoritative: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LookupResponse {
    #[prost(string, optional, tag = "1")]
    pub(super) url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(super) url_tls: Option<String>,
    /// 0 redirect, 1 connect, 2 failed.
    #[prost(int32, optional, tag = "3")]
    pub(super) response: Option<i32>,
    #[prost(uint64, required, tag = "4")]
    pub(super) request_id: u64,
    #[prost(bool, optional, tag = "5")]
    pub(super) authoritative: Option<bool>,
    #[prost(enumeration = "ServerError", optional, tag = "6")]
    pub(super) error: Option<i32>,
    #[prost(string, optional, tag = "7")]
    pub(super) message: Option<String>,
    #[prost(bool, optional, tag = "8")]
    pub(super) proxy_through_service_url: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateProducer {
    #[prost(string, required, tag = "1")]
    pub(super) topic: String,
    #[prost(uint64, required, tag = "2")]
    pub(super) producer_id: u64,
    #[prost(uint64, required, tag = "3")]
    pub(super) request_id: u64,
    #[prost(string, optional, tag = "4")]
    pub(super) producer_name: Option<String>,
    /// Goes up with every connection, so that the broker knows the newest.
    #[prost(uint64, optional, tag = "8")]
    pub(super) epoch: Option<u64>,
    #[prost(bool, optional, tag = "9")]
    pub(super) user_provided_producer_name: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ProducerSuccess {
    #[prost(uint64, required, tag = "1")]
    pub(super) request_id: u64,
    #[prost(string, required, tag = "2")]
    pub(super) producer_name: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Send {
    #[prost(uint64, required, tag = "1")]
    pub(super) producer_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) sequence_id: u64,
    #[prost(int32, optional, tag = "3")]
    pub(super) num_messages: Option<i32>,
    #[prost(uint64, optional, tag = "6")]
    pub(super) highest_sequence_id: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct SendReceipt {
    #[prost(uint64, required, tag = "1")]
    pub(super) producer_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) sequence_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SendError {
    #[prost(uint64, required, tag = "2")]
    pub(super) sequence_id: u64,
    #[prost(enumeration = "ServerError", required, tag = "3")]
    pub(super) error: i32,
    #[prost(string, required, tag = "4")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Delivery {
    #[prost(uint64, required, tag = "1")]
    pub(super) consumer_id: u64,
    #[prost(message, required, tag = "2")]
    pub(super) message_id: MessageId,
    /// Bits of the messages in the batch that are still to be acknowledged.
    #[prost(int64, repeated, packed = "false", tag = "4")]
    pub(super) ack_set: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Ack {
    #[prost(uint64, required, tag = "1")]
    pub(super) consumer_id: u64,
    /// 0 those named, 1 everything up to the one named.
    #[prost(int32, required, tag = "2")]
    pub(super) ack_type: i32,
    #[prost(message, repeated, tag = "3")]
    pub(super) message_ids: Vec<MessageId>,
    #[prost(uint64, optional, tag = "8")]
    pub(super) request_id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AckResponse {
    #[prost(enumeration = "ServerError", optional, tag = "4")]
    pub(super) error: Option<i32>,
    #[prost(string, optional, tag = "5")]
    pub(super) message: Option<String>,
    #[prost(uint64, optional, tag = "6")]
    pub(super) request_id: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Flow {
    #[prost(uint64, required, tag = "1")]
    pub(super) consumer_id: u64,
    #[prost(uint32, required, tag = "2")]
    pub(super) permits: u32,
}

/// A request about a consumer or a producer: to close or to unsubscribe it, or for its last message.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct About {
    #[prost(uint64, required, tag = "1")]
    pub(super) id: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) request_id: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Seek {
    #[prost(uint64, required, tag = "1")]
    pub(super) consumer_id: u64,
    #[prost(uint64, required, tag = "2")]
    pub(super) request_id: u64,
    #[prost(uint64, optional, tag = "4")]
    pub(super) publish_time_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Success {
    #[prost(uint64, required, tag = "1")]
    pub(super) request_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Failure {
    #[prost(uint64, required, tag = "1")]
    pub(super) request_id: u64,
    #[prost(enumeration = "ServerError", required, tag = "2")]
    pub(super) error: i32,
    #[prost(string, required, tag = "3")]
    pub(super) message: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct LastMessageId {
    #[prost(message, required, tag = "1")]
    pub(super) id: MessageId,
    #[prost(uint64, required, tag = "2")]
    pub(super) request_id: u64,
    /// The entry up to which the subscription has acknowledged everything.
    #[prost(message, optional, tag = "3")]
    pub(super) mark_delete: Option<MessageId>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TopicsOfNamespace {
    #[prost(uint64, required, tag = "1")]
    pub(super) request_id: u64,
    #[prost(string, required, tag = "2")]
    pub(super) namespace: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TopicsOfNamespaceResponse {
    #[prost(uint64, required, tag = "1")]
    pub(super) request_id: u64,
    #[prost(string, repeated, tag = "2")]
    pub(super) topics: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Empty {}

/// One command of either side: its kind, and the field of that kind.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Command {
    #[prost(int32, required, tag = "1")]
    pub(super) kind: i32,
    #[prost(
        oneof = "Body",
        tags = "2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 27, \
                28, 29, 30, 31, 32, 33, 36, 37, 38"
    )]
    pub(super) body: Option<Body>,
}

impl Command {
    pub(super) fn new(body: Body) -> Self {
        let kind = match &body {
            Body::Connect(_) => 2,
            Body::Connected(_) => 3,
            Body::Subscribe(_) => 4,
            Body::CreateProducer(_) => 5,
            Body::Send(_) => 6,
            Body::SendReceipt(_) => 7,
            Body::SendError(_) => 8,
            Body::Delivery(_) => 9,
            Body::Ack(_) => 10,
            Body::Flow(_) => 11,
            Body::Unsubscribe(_) => 12,
            Body::Success(_) => 13,
            Body::Failure(_) => 14,
            Body::CloseProducer(_) => 15,
            Body::CloseConsumer(_) => 16,
            Body::ProducerSuccess(_) => 17,
            Body::Ping(_) => 18,
            Body::Pong(_) => 19,
            Body::PartitionMetadata(_) => 21,
            Body::PartitionMetadataResponse(_) => 22,
            Body::Lookup(_) => 23,
            Body::LookupResponse(_) => 24,
            Body::ReachedEndOfTopic(_) => 27,
            Body::Seek(_) => 28,
            Body::GetLastMessageId(_) => 29,
            Body::LastMessageId(_) => 30,
            Body::ActiveConsumerChange(_) => 31,
            Body::TopicsOfNamespace(_) => 32,
            Body::TopicsOfNamespaceResponse(_) => 33,
            Body::AuthChallenge(_) => 36,
            Body::AuthResponse(_) => 37,
            Body::AckResponse(_) => 38,
        };
        let body = Some(body);
        Self { kind, body }
    }
}

/// What a command says. In Pulsar's own definition these are fields of which only one is ever set,
/// which is the same on the wire.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Body {
    #[prost(message, tag = "2")]
    Connect(Connect),
    #[prost(message, tag = "3")]
    Connected(Connected),
    #[prost(message, tag = "4")]
    Subscribe(Subscribe),
    #[prost(message, tag = "5")]
    CreateProducer(CreateProducer),
    #[prost(message, tag = "6")]
    Send(Send),
    #[prost(message, tag = "7")]
    SendReceipt(SendReceipt),
    #[prost(message, tag = "8")]
    SendError(SendError),
    #[prost(message, tag = "9")]
    Delivery(Delivery),
    #[prost(message, tag = "10")]
    Ack(Ack),
    #[prost(message, tag = "11")]
    Flow(Flow),
    #[prost(message, tag = "12")]
    Unsubscribe(About),
    #[prost(message, tag = "13")]
    Success(Success),
    #[prost(message, tag = "14")]
    Failure(Failure),
    #[prost(message, tag = "15")]
    CloseProducer(About),
    #[prost(message, tag = "16")]
    CloseConsumer(About),
    #[prost(message, tag = "17")]
    ProducerSuccess(ProducerSuccess),
    #[prost(message, tag = "18")]
    Ping(Empty),
    #[prost(message, tag = "19")]
    Pong(Empty),
    #[prost(message, tag = "21")]
    PartitionMetadata(PartitionMetadata),
    #[prost(message, tag = "22")]
    PartitionMetadataResponse(PartitionMetadataResponse),
    #[prost(message, tag = "23")]
    Lookup(Lookup),
    #[prost(message, tag = "24")]
    LookupResponse(LookupResponse),
    #[prost(message, tag = "27")]
    ReachedEndOfTopic(Empty),
    #[prost(message, tag = "28")]
    Seek(Seek),
    #[prost(message, tag = "29")]
    GetLastMessageId(About),
    #[prost(message, tag = "30")]
    LastMessageId(LastMessageId),
    #[prost(message, tag = "31")]
    ActiveConsumerChange(Empty),
    #[prost(message, tag = "32")]
    TopicsOfNamespace(TopicsOfNamespace),
    #[prost(message, tag = "33")]
    TopicsOfNamespaceResponse(TopicsOfNamespaceResponse),
    #[prost(message, tag = "36")]
    AuthChallenge(Empty),
    #[prost(message, tag = "37")]
    AuthResponse(AuthResponse),
    #[prost(message, tag = "38")]
    AckResponse(AckResponse),
}
