#!/usr/bin/env python3
"""clients.py BOOTSTRAP: does with a broker what librdkafka can do with one, and checks what comes of it.

Topics are made, grown, described and deleted; transactions commit, abort, are fenced and hold committed readers back;
a consumer's offsets are committed in a producer's transaction; a group shares partitions and shares them again. Leaves
the topic "committed" with 630 records that a committed reader gets, between others that it does not.
"""
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

BROKER = {"bootstrap.servers": sys.argv[1], "log_level": 0}
PARTITIONS = 3
TOPIC = "committed"


def consumer(group, isolation="read_committed", **more):
    return Consumer(BROKER | {"group.id": group, "isolation.level": isolation, "auto.offset.reset": "earliest",
                              "enable.auto.commit": False, "enable.partition.eof": True} | more)


def everything(group, isolation="read_committed"):
    """Every value of the topic, read as a member of a group."""
    reader, values, ends = consumer(group, isolation), [], set()
    reader.subscribe([TOPIC])
    deadline = time.monotonic() + 30
    while len(ends) < PARTITIONS:
        assert time.monotonic() < deadline, f"{group}: {len(values)} records, the ends of {ends}"
        message = reader.poll(0.5)
        if message is not None and message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            ends.add(message.partition())
        elif message is not None:
            values.append(message.value().decode())
    reader.close()
    return values


def send(producer, tag, count=300):
    for i in range(count):
        producer.produce(TOPIC, key=str(i), value=f"{tag}-{i}")


def code(action):
    """Kafka's number for the refusal of an action."""
    try:
        action()
    except KafkaException as refused:
        return refused.args[0].code()
    raise AssertionError("it was not refused")


def topics(admin):
    def make(topic):
        return admin.create_topics([topic])[topic.topic].result()

    make(NewTopic("short-lived", 1, 1))
    assert code(lambda: make(NewTopic("short-lived", 1, 1))) == KafkaError.TOPIC_ALREADY_EXISTS
    assert code(lambda: make(NewTopic("a/b", 1, 1))) == KafkaError.TOPIC_EXCEPTION
    assert code(lambda: make(NewTopic("copied", 1, 3))) == KafkaError.INVALID_REPLICATION_FACTOR
    admin.create_partitions([NewPartitions("short-lived", 4)])["short-lived"].result()
    assert len(admin.list_topics().topics["short-lived"].partitions) == 4
    admin.delete_topics(["short-lived"])["short-lived"].result()
    assert "short-lived" not in admin.list_topics().topics
    make(NewTopic(TOPIC, PARTITIONS, 1, config={"cleanup.policy": "compact"}))
    resource = ConfigResource(ResourceType.TOPIC, TOPIC)
    assert admin.describe_configs([resource])[resource].result()["cleanup.policy"].value == "compact"


def transactions():
    first = Producer(BROKER | {"transactional.id": "t"})
    first.init_transactions()
    for tag, end in [("a", first.commit_transaction), ("b", first.abort_transaction), ("c", first.commit_transaction)]:
        first.begin_transaction()
        send(first, tag)
        first.flush()
        end()
    assert sorted(everything("one")) == sorted(f"{tag}-{i}" for tag in "ac" for i in range(300))
    assert len(everything("two", "read_uncommitted")) == 900

    # An open transaction holds back what comes behind it, until a successor ends it.
    first.begin_transaction()
    send(first, "d", 30)
    first.flush()
    other = Producer(BROKER)
    send(other, "e", 30)
    other.flush()
    assert len(everything("three")) == 600
    second = Producer(BROKER | {"transactional.id": "t"})
    second.init_transactions()
    assert code(first.commit_transaction) == KafkaError._FENCED
    assert sorted({value[0] for value in everything("four")}) == ["a", "c", "e"]
    return second


def read_and_write(producer):
    """The consumer's position is part of the producer's transaction."""
    for end, expected in [(producer.abort_transaction, False), (producer.commit_transaction, True)]:
        reader = consumer("five")
        reader.subscribe([TOPIC])
        while not (batch := [message for message in reader.consume(100, 1) if not message.error()]):
            pass
        producer.begin_transaction()
        for message in batch:
            producer.produce("copies", value=message.value())
        places = reader.position(reader.assignment())
        producer.send_offsets_to_transaction(places, reader.consumer_group_metadata())
        producer.flush()
        end()
        stored = [place.offset for place in reader.committed(reader.assignment(), 10)]
        assert any(offset > 0 for offset in stored) == expected, stored
        reader.close()


def groups(admin):
    has, stop = {}, {name: threading.Event() for name in "xy"}

    def member(name):
        reader = consumer("six", **{"client.id": name})
        reader.subscribe([TOPIC])
        while not stop[name].is_set():
            reader.poll(0.1)
            has[name] = len(reader.assignment())
        reader.close()
        has[name] = 0

    def shared(x, y):
        deadline = time.monotonic() + 30
        while (has.get("x", 0), has.get("y", 0)) not in [(x, y), (y, x)]:
            assert time.monotonic() < deadline, has
            time.sleep(0.05)

    threads = [threading.Thread(target=member, args=name, daemon=True) for name in "xy"]
    threads[0].start()
    shared(3, 0)
    threads[1].start()
    shared(2, 1)
    group = admin.describe_consumer_groups(["six"])["six"].result()
    assert (group.state.name, len(group.members)) == ("STABLE", 2), group
    stop["x"].set()
    shared(0, 3)
    stop["y"].set()
    for thread in threads:
        thread.join()
    admin.delete_consumer_groups(["six"])["six"].result()
    assert "six" not in [group.group_id for group in admin.list_consumer_groups().result().valid]


def times():
    reader, hour = consumer("seven"), 3600
    now = time.time()
    places = [TopicPartition(TOPIC, 0, int((now + shift) * 1000)) for shift in (-hour, hour)]
    found = [reader.offsets_for_times([place], timeout=10)[0].offset for place in places]
    assert found[0] == 0 and found[1] < 0, found
    reader.close()


administrator = AdminClient(BROKER)
topics(administrator)
read_and_write(transactions())
groups(administrator)
times()
