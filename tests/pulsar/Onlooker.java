import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.BatcherBuilder;
import org.apache.pulsar.client.api.CompressionType;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.MessageRoutingMode;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.ProducerBuilder;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Reader;
import org.apache.pulsar.client.api.TypedMessageBuilder;

/** Pulsar's own client, for what tests do behind the connectors' backs. */
public class Onlooker {
    public static void main(String[] arguments) throws Exception {
        try (PulsarClient client = PulsarClient.builder().serviceUrl(arguments[1]).build()) {
            switch (arguments[0]) {
                case "read" -> read(client, arguments[2]);
                case "produce" -> produce(client, arguments);
                case "unbatch" -> unbatch(client, arguments);
                default -> throw new IllegalArgumentException(arguments[0]);
            }
        }
        System.exit(0);
    }

    /** Prints every message: topic, id, key, event time, properties, value, between tabs. */
    private static void read(PulsarClient client, String topic) throws Exception {
        StringBuilder out = new StringBuilder();
        Reader<byte[]> reader = client.newReader().topic(topic).receiverQueueSize(5000)
            .startMessageId(MessageId.earliest).create();
        while (reader.hasMessageAvailable()) {
            Message<byte[]> message = reader.readNext(30, TimeUnit.SECONDS);
            String key = message.hasKey() ? Base64.getEncoder().encodeToString(message.getKeyBytes()) : "-";
            out.append(message.getTopicName()).append('\t').append(message.getMessageId()).append('\t')
                .append(key).append('\t').append(message.getEventTime()).append('\t')
                .append(new TreeMap<>(message.getProperties())).append('\t')
                .append(new String(message.getData(), StandardCharsets.UTF_8)).append('\n');
        }
        System.out.print(out);
    }

    /** Sends {"id": N} for N from FROM to UNTIL, in batches: URL TOPIC FROM UNTIL COMPRESSION. */
    private static void produce(PulsarClient client, String[] arguments) throws Exception {
        ProducerBuilder<byte[]> builder = client.newProducer().topic(arguments[2]).enableBatching(true)
            .batcherBuilder(BatcherBuilder.DEFAULT).batchingMaxMessages(500).maxPendingMessages(20000)
            .batchingMaxPublishDelay(5, TimeUnit.MILLISECONDS).blockIfQueueFull(true)
            .messageRoutingMode(MessageRoutingMode.RoundRobinPartition)
            .compressionType(CompressionType.valueOf(arguments[5]));
        try (Producer<byte[]> producer = builder.create()) {
            for (long id = Long.parseLong(arguments[3]); id < Long.parseLong(arguments[4]); id++) {
                message(producer, id).sendAsync();
            }
            producer.flush();
        }
    }

    /** The same, each message alone and 100 milliseconds after the other, with what they can carry. */
    private static void unbatch(PulsarClient client, String[] arguments) throws Exception {
        ProducerBuilder<byte[]> builder = client.newProducer().topic(arguments[2]).enableBatching(false)
            .compressionType(CompressionType.valueOf(arguments[5]));
        try (Producer<byte[]> producer = builder.create()) {
            for (long id = Long.parseLong(arguments[3]); id < Long.parseLong(arguments[4]); id++) {
                TypedMessageBuilder<byte[]> message = message(producer, id).eventTime(1000 + id)
                    .property("model", "fraud-" + id);
                if (id % 2 == 0) {
                    message.keyBytes(new byte[] {(byte) 0xff, (byte) id});
                } else {
                    message.key("key-" + id);
                }
                message.send();
                Thread.sleep(100);
            }
        }
    }

    private static TypedMessageBuilder<byte[]> message(Producer<byte[]> producer, long id) {
        return producer.newMessage().value(("{\"id\":" + id + "}").getBytes(StandardCharsets.UTF_8));
    }
}
