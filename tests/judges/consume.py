#!/usr/bin/env python3
"""Reads topics as a stranger does, with confluent-kafka's Consumer (read_committed), and prints a JSON line a record.

  consume.py --bootstrap HOST:PORT --topics REGEX [--format avro|json|raw] [--registry URL]
             [--at-least N] [--timeout SECONDS]

Reads every partition of every topic that matches from its beginning to its end; with --at-least, goes on until so many
records have come (exit code 3 when they do not in time), and for five seconds at most where the end moves away. avro: key and value are read by Confluent's
AvroDeserializer and by fastavro alone, with the schema the registry has for the id in front; both must agree.

A line: topic, partition, offset, timestamp, headers, key, value, keyHex, valueHex; with avro keySchema, valueSchema,
keyId, valueId. Decimals are text, bytes are {"hex": …}; a record without a key or value has null there.
"""
import argparse
import decimal
import functools
import io
import json
import math
import re
import sys
import time
import urllib.request

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def plain(value):
    match value:
        case dict():
            return {name: plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case decimal.Decimal():
            return format(value, "f")
        case bytes():
            return {"hex": value.hex()}
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


class Avro:
    def __init__(self, registry):
        self.registry = registry
        self.confluent = AvroDeserializer(SchemaRegistryClient({"url": registry}))

    @functools.cache
    def schema(self, id):
        with urllib.request.urlopen(f"{self.registry}/schemas/ids/{id}", timeout=10) as answer:
            text = json.load(answer)["schema"]
        return text, fastavro.parse_schema(json.loads(text))

    def read(self, data, topic, field):
        """value, schema text, schema id"""
        if data is None:
            return None, None, None
        assert data[0] == 0, f"magic byte {data[0]} in {topic}"
        id = int.from_bytes(data[1:5], "big")
        text, parsed = self.schema(id)
        body = io.BytesIO(data[5:])
        alone = fastavro.schemaless_reader(body, parsed, None)
        assert body.read() == b"", f"bytes left over after the {field} of {topic}"
        theirs = self.confluent(data, SerializationContext(topic, field))
        # By what they print: NaN is not even itself.
        assert repr(plain(theirs)) == repr(plain(alone)), f"{field} of {topic}: {theirs!r} is not {alone!r}"
        return plain(alone), text, id


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topics", required=True)
    parser.add_argument("--format", choices=["avro", "json", "raw"], default="avro")
    parser.add_argument("--registry")
    parser.add_argument("--at-least", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=60)
    arguments = parser.parse_args()
    wanted, deadline = re.compile(arguments.topics), time.monotonic() + arguments.timeout
    avro = Avro(arguments.registry) if arguments.format == "avro" else None

    def faults(error):
        if error.fatal():
            sys.exit(f"consume: {error}")

    admin = AdminClient({"bootstrap.servers": arguments.bootstrap, "log_level": 0})
    consumer = Consumer({
        "bootstrap.servers": arguments.bootstrap,
        "group.id": "judge",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "allow.auto.create.topics": False,
        "check.crcs": True,
        "log_level": 0,
        "error_cb": faults,
    })
    assigned, at_end, records, looked, enough = set(), set(), [], 0.0, None
    while True:
        if time.monotonic() - looked > 0.5:
            looked = time.monotonic()
            try:
                topics = admin.list_topics(timeout=10).topics
            except KafkaException as error:
                topics = {}
                print(f"consume: {error}", file=sys.stderr)
            found = {
                (name, partition)
                for name, topic in topics.items() if wanted.fullmatch(name)
                for partition in topic.partitions
            }
            new = found - assigned
            if new:
                consumer.incremental_assign([TopicPartition(*place, OFFSET_BEGINNING) for place in new])
                assigned |= new
        if len(records) >= arguments.at_least:
            enough = enough or time.monotonic()
            # A topic that is written to all the time has no end.
            if at_end == assigned or arguments.at_least and time.monotonic() - enough > 5:
                break
        if time.monotonic() > deadline:
            print(f"consume: {len(records)} of {arguments.at_least} records of {sorted(assigned)}", file=sys.stderr)
            break
        for message in consumer.consume(2000, 0.2):
            place = (message.topic(), message.partition())
            if message.error():
                if message.error().code() != KafkaError._PARTITION_EOF:
                    sys.exit(f"consume: {message.error()}")
                at_end.add(place)
                continue
            at_end.discard(place)
            records.append(message)
    consumer.close()
    records.sort(key=lambda message: (message.topic(), message.partition(), message.offset()))

    def text(data):
        return None if data is None else data.decode(errors="replace")

    def parsed(data, topic):
        try:
            return None if data is None else json.loads(data)
        except ValueError as error:
            sys.exit(f"consume: {topic}: {error}: {data!r}")

    for message in records:
        topic, key, value = message.topic(), message.key(), message.value()
        line = {
            "topic": topic,
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": message.timestamp()[1],
            "headers": [[name, text(data)] for name, data in message.headers() or []],
            "keyHex": key and key.hex(),
            "valueHex": value and value.hex(),
        }
        match arguments.format:
            case "avro":
                line["key"], line["keySchema"], line["keyId"] = avro.read(key, topic, MessageField.KEY)
                line["value"], line["valueSchema"], line["valueId"] = avro.read(value, topic, MessageField.VALUE)
            case "json":
                line["key"], line["value"] = parsed(key, topic), parsed(value, topic)
            case "raw":
                line["key"], line["value"] = text(key), text(value)
        print(json.dumps(line))
    sys.exit(0 if len(records) >= arguments.at_least else 3)


if __name__ == "__main__":
    main()
