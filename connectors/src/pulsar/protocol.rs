//! The messages of Pulsar's binary protocol, as the package `pulsar` has generated them from Pulsar's
//! `PulsarApi.proto`, and commands as what one of them says.

use prost_pulsar::Message;
use prost_pulsar::encoding::{WireType, encode_key, encode_varint};
pub(super) use pulsar::message::proto::{
    AuthData, BaseCommand, CommandAck, CommandAuthResponse, CommandCloseConsumer, CommandConnect,
    CommandFlow, CommandGetLastMessageId, CommandGetLastMessageIdResponse,
    CommandGetTopicsOfNamespace, CommandLookupTopic, CommandPartitionedTopicMetadata, CommandPing,
    CommandPong, CommandProducer, CommandSeek, CommandSend, CommandSubscribe, CommandUnsubscribe,
    CompressionType, FeatureFlags, KeyValue, MessageIdData, MessageMetadata, ProducerAccessMode,
    ServerError, SingleMessageMetadata, base_command::Type, command_ack::AckType,
    command_lookup_topic_response::LookupType, command_subscribe::InitialPosition,
    command_subscribe::SubType,
};
use pulsar::message::proto::{
    CommandAckResponse, CommandActiveConsumerChange, CommandAuthChallenge, CommandCloseProducer,
    CommandConnected, CommandError, CommandGetTopicsOfNamespaceResponse,
    CommandLookupTopicResponse, CommandMessage, CommandPartitionedTopicMetadataResponse,
    CommandProducerSuccess, CommandReachedEndOfTopic, CommandSendError, CommandSendReceipt,
    CommandSuccess,
};

/// The version that is spoken: the first in which acknowledgements are answered.
pub(super) const VERSION: i32 = 17;

/// What is before the first message of every topic.
pub(super) fn earliest() -> MessageIdData {
    MessageIdData {
        ledger_id: u64::MAX,
        entry_id: u64::MAX,
        ..MessageIdData::default()
    }
}

/// Declares what commands say, with the kind and the field of each in [`BaseCommand`].
macro_rules! bodies {
    ($($body:ident, $field:ident: $message:ty;)*) => {
        /// What a command says: the one field of it that is set.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(clippy::large_enum_variant)]
        pub(super) enum Body {
            $($body($message),)*
        }

        impl From<Body> for BaseCommand {
            fn from(body: Body) -> Self {
                let mut command = Self::default();
                match body {
                    $(Body::$body(message) => {
                        command.set_type(Type::$body);
                        command.$field = Some(message);
                    })*
                }
                command
            }
        }

        impl Body {
            /// What a command says; none where it is of a kind that is not heeded here.
            pub(super) fn of(command: BaseCommand) -> Option<Self> {
                match Type::try_from(command.r#type).ok()? {
                    $(Type::$body => command.$field.map(Self::$body),)*
                    _ => None,
                }
            }
        }
    };
}

bodies! {
    Connect, connect: CommandConnect;
    Connected, connected: CommandConnected;
    Subscribe, subscribe: CommandSubscribe;
    Producer, producer: CommandProducer;
    Send, send: CommandSend;
    SendReceipt, send_receipt: CommandSendReceipt;
    SendError, send_error: CommandSendError;
    Message, message: CommandMessage;
    Ack, ack: CommandAck;
    Flow, flow: CommandFlow;
    Unsubscribe, unsubscribe: CommandUnsubscribe;
    Success, success: CommandSuccess;
    Error, error: CommandError;
    CloseProducer, close_producer: CommandCloseProducer;
    CloseConsumer, close_consumer: CommandCloseConsumer;
    ProducerSuccess, producer_success: CommandProducerSuccess;
    Ping, ping: CommandPing;
    Pong, pong: CommandPong;
    PartitionedMetadata, partition_metadata: CommandPartitionedTopicMetadata;
    PartitionedMetadataResponse, partition_metadata_response: CommandPartitionedTopicMetadataResponse;
    Lookup, lookup_topic: CommandLookupTopic;
    LookupResponse, lookup_topic_response: CommandLookupTopicResponse;
    ReachedEndOfTopic, reached_end_of_topic: CommandReachedEndOfTopic;
    Seek, seek: CommandSeek;
    GetLastMessageId, get_last_message_id: CommandGetLastMessageId;
    GetLastMessageIdResponse, get_last_message_id_response: CommandGetLastMessageIdResponse;
    ActiveConsumerChange, active_consumer_change: CommandActiveConsumerChange;
    GetTopicsOfNamespace, get_topics_of_namespace: CommandGetTopicsOfNamespace;
    GetTopicsOfNamespaceResponse, get_topics_of_namespace_response: CommandGetTopicsOfNamespaceResponse;
    AuthChallenge, auth_challenge: CommandAuthChallenge;
    AuthResponse, auth_response: CommandAuthResponse;
    AckResponse, ack_response: CommandAckResponse;
}

/// Appends a command as it is on the wire.
///
/// Asking how a topic is divided must not create it. The package's definition is from before the field
/// that says so (`metadata_auto_creation_enabled`, 6): it is added here.
pub(super) fn put_command(mut command: BaseCommand, out: &mut Vec<u8>) {
    const NOT_CREATED: [u8; 2] = [6 << 3, 0];
    let question = command.partition_metadata.take();
    command.encode_raw(out);
    if let Some(question) = question {
        encode_key(
            Type::PartitionedMetadata as u32,
            WireType::LengthDelimited,
            out,
        );
        encode_varint((question.encoded_len() + NOT_CREATED.len()) as u64, out);
        question.encode_raw(out);
        out.extend(NOT_CREATED);
    }
}
