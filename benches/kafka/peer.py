"""The job in Python: confluent-kafka in and out, features in plain Python, the model by onnxruntime.

    python peer.py BROKERS TOPIC SCORES RECORDS

Ends with a line of JSON: events, seconds, and seconds of processor time.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from confluent_kafka import Consumer, Producer, TopicPartition

BENCHES = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(BENCHES / "peers"))

from sliding import Card  # noqa: E402

MODEL = BENCHES / "fraud_features" / "model" / "model.onnx"
BATCH = 1_000


def consumer_of(brokers: str, topic: str) -> Consumer:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "bench-peer", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
    # From the beginning: offset 0, which nothing has removed.
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    return consumer


def main() -> None:
    brokers, topic, scores, records = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 5, "compression.type": "lz4", "acks": "all"})
    consumer = consumer_of(brokers, topic)
    cards: dict[int, Card] = {}
    done = 0
    begun, busy = time.perf_counter(), time.process_time()
    while done < int(records):
        messages = consumer.consume(BATCH, timeout=1.0)
        if not messages:
            continue
        payments = [json.loads(message.value()) for message in messages]
        rows = []
        for payment in payments:
            card = cards.get(payment["card"])
            if card is None:
                card = cards[payment["card"]] = Card()
            rows.append(card.update(payment["ts"], payment["amount"], payment["merchant"]))
        (scored,) = session.run(None, {name: np.array(rows, dtype=np.float32)})
        for payment, score in zip(payments, scored):
            value = {"card": payment["card"], "ts": payment["ts"], "score": float(score[0])}
            producer.produce(scores, json.dumps(value), key=str(payment["card"]))
        producer.poll(0)
        done += len(messages)
    producer.flush()
    seconds, core_seconds = time.perf_counter() - begun, time.process_time() - busy
    consumer.close()
    print(json.dumps({"events": done, "seconds": seconds, "core_seconds": core_seconds}))


if __name__ == "__main__":
    main()
