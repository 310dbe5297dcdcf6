#!/usr/bin/env python3
"""ends.py BOOTSTRAP TOPIC COUNT SECONDS: asks for the end offsets of a topic until they sum up to COUNT.

Prints the sum and, in seconds since the epoch, when the first record and when the last was seen. Exit code 3 when
that takes longer than SECONDS.
"""
import sys
import time

from confluent_kafka import Consumer, KafkaException, TopicPartition

bootstrap, topic, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends", "allow.auto.create.topics": False, "log_level": 0})
deadline, first, total, partitions = time.monotonic() + seconds, None, 0, []
while total < count and time.monotonic() < deadline:
    time.sleep(0.02)
    try:
        if not partitions:
            found = consumer.list_topics(topic, timeout=5).topics[topic]
            partitions = [TopicPartition(topic, partition) for partition in found.partitions] if not found.error else []
        total = sum(consumer.get_watermark_offsets(place, timeout=5, cached=False)[1] for place in partitions)
    except KafkaException:
        continue
    if total and first is None:
        first = time.time()
print(total, first, time.time())
sys.exit(0 if total >= count else 3)
