#!/usr/bin/env python3
"""What is readable in a topic, by confluent-kafka's Consumer (read_committed).

  ends.py watch BOOTSTRAP TOPIC COUNT SECONDS
      asks for the end offsets until they sum up to COUNT and have not moved for 0.3 s; prints, in seconds since the
      epoch, when they first and when they last moved. Exit code 3 when that takes longer than SECONDS.
  ends.py count BOOTSTRAP TOPIC
      reads every record and prints how many there are (the markers of transactions have offsets too) and a CRC-32
      over all keys in their order, without the five bytes that name an Avro key's schema
"""
import sys
import time
import zlib

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition


def partitions(consumer, topic):
    found = consumer.list_topics(topic, timeout=5).topics[topic]
    return [] if found.error else [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found.partitions]


def watch(consumer, topic, count, seconds):
    deadline, first, last, total, places = time.monotonic() + seconds, None, None, 0, []
    while time.monotonic() < deadline:
        time.sleep(0.02)
        try:
            places = places or partitions(consumer, topic)
            now = sum(consumer.get_watermark_offsets(place, timeout=5, cached=False)[1] for place in places)
        except KafkaException:
            continue
        if now > total:
            total, last = now, time.time()
            first = first or last
        elif total >= count and time.time() - last > 0.3:
            print(first, last)
            return
    print(f"{total} of {count}", file=sys.stderr)
    sys.exit(3)


def count(consumer, topic):
    places = partitions(consumer, topic)
    consumer.assign(places)
    records, crc, open_places = 0, 0, len(places)
    while open_places:
        for message in consumer.consume(10000, 1.0):
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    sys.exit(str(message.error()))
                open_places -= 1
                continue
            records += 1
            crc = zlib.crc32((message.key() or b"")[5:], crc)
    print(records, f"{crc:08x}")


verb, bootstrap, topic, *rest = sys.argv[1:]
consumer = Consumer({
    "bootstrap.servers": bootstrap,
    "group.id": "ends",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "log_level": 0,
})
if verb == "watch":
    watch(consumer, topic, int(rest[0]), float(rest[1]))
else:
    count(consumer, topic)
