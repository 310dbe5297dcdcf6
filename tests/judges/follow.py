#!/usr/bin/env python3
"""follow.py BOOTSTRAP REGISTRY TOPICS

Prints every record of the topics that match a regular expression, as it comes, a line of JSON each, until it is
ended: topic, partition, headers, key, value. Keys and values are {"text": …}: JSON as it was written; Avro (it begins
with a zero byte) as fastavro reads it, and then {"schema": …} says the id; anything else as hexadecimal.
"""
import functools
import io
import json
import re
import sys
import time
import urllib.request

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from consume import plain

bootstrap, registry, pattern = sys.argv[1:]


@functools.cache
def schema(id):
    with urllib.request.urlopen(f"{registry}/schemas/ids/{id}", timeout=10) as answer:
        return fastavro.parse_schema(bare(json.loads(json.load(answer)["schema"])))


def bare(schema):
    """Without logical types: what is there and no meaning of it, which Python may have no value for."""
    match schema:
        case dict():
            return {name: bare(inner) for name, inner in schema.items() if name != "logicalType"}
        case list():
            return [bare(inner) for inner in schema]
        case _:
            return schema


def read(data):
    if data is None:
        return None
    if len(data) > 5 and data[0] == 0:
        id, body = int.from_bytes(data[1:5], "big"), io.BytesIO(data[5:])
        try:
            value = plain(fastavro.schemaless_reader(body, schema(id), None))
            return {"text": json.dumps(value, ensure_ascii=False, separators=(",", ":")), "schema": id, "rest": body.read().hex()}
        except Exception as error:
            return {"text": f"{type(error).__name__}: {error}: {data.hex()}", "schema": id}
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"text": data.hex(), "binary": True}


def main():
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "follower",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "fetch.wait.max.ms": 50,
        "log_level": 0,
    })
    wanted, assigned, looked = re.compile(pattern), set(), 0.0
    while True:
        if time.monotonic() - looked > 0.3:
            looked = time.monotonic()
            topics = admin.list_topics(timeout=30).topics
            new = {
                (name, partition)
                for name, topic in topics.items() if wanted.fullmatch(name)
                for partition in topic.partitions
            } - assigned
            if new:
                consumer.incremental_assign([TopicPartition(*place, OFFSET_BEGINNING) for place in new])
                assigned |= new
        for message in consumer.consume(1000, 0.1):
            if message.error():
                if message.error().code() not in (KafkaError._PARTITION_EOF, KafkaError.UNKNOWN_TOPIC_OR_PART):
                    print(f"follow: {message.error()}", file=sys.stderr)
                continue
            line = {
                "topic": message.topic(),
                "partition": message.partition(),
                "headers": [[name, read(data)] for name, data in message.headers() or []],
                "key": read(message.key()),
                "value": read(message.value()),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
