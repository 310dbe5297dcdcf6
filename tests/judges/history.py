#!/usr/bin/env python3
"""Compares topics, read as a stranger does (confluent-kafka's Consumer, read_committed), with the history that triggers
have written in the transactions of the changes themselves.

  history.py --bootstrap HOST:PORT --prefix PREFIX --history FILE

FILE: a JSON line per change, in the order of their triggers: {seq, tbl, op, old, new, lsn}; old and new have the key's
columns (k), the row's version (ver) and a checksum of its text (sum). Rows are locked while they are written, so for
one key this is the order of commits.

For each key of each table: the first record is r or c; every change behind the one it shows comes exactly once, in
order, each deletion with its tombstone. What lies before the first record must be older than the snapshot. Tables
without a key (k is null): every change once, in any order.

Prints one JSON object: records, changes, lost, duplicated, out_of_order, wrong (content), tombstones (missing),
open (partitions behind a transaction that nobody ends), and some complaints. The exit code is 0 when there is nothing
to complain of.
"""
import argparse
import collections
import hashlib
import json
import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

UNCHANGED = "__debezium_unavailable_value"
KEYS = {"keyed": ["id"], "pair": ["a", "b"], "whole": ["id"], "nokey": None}


# A transaction is committed before its markers are in every partition; much longer, and nobody ends it.
SETTLED_S = 30


def ends(bootstrap, level, places):
    """(topic, partition): the end of what can be read"""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "history", "isolation.level": level})
    found = {(place.topic, place.partition): consumer.get_watermark_offsets(place, timeout=20, cached=False)[1]
             for place in places}
    consumer.close()
    return found


def unended(bootstrap, prefix):
    """What of the partitions stays behind a transaction that is open, when nobody writes any more."""
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=20).topics
    places = [TopicPartition(f"{prefix}.load.{table}", partition)
              for table in KEYS if f"{prefix}.load.{table}" in topics
              for partition in topics[f"{prefix}.load.{table}"].partitions]
    written, limit = ends(bootstrap, "read_uncommitted", places), time.monotonic() + SETTLED_S
    while True:
        readable = ends(bootstrap, "read_committed", places)
        behind = {place: (readable[place], end) for place, end in written.items() if readable[place] < end}
        if not behind or time.monotonic() > limit:
            return behind
        time.sleep(0.2)


def read(bootstrap, prefix):
    """table: [(key, value)] in the order of each partition"""
    topics = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=20).topics
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "history", "enable.auto.commit": False,
        "isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 50,
    })
    records = {}
    for table in KEYS:
        topic = f"{prefix}.load.{table}"
        if topic not in topics:
            records[table] = []
            continue
        partitions = list(topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        by_partition = {partition: [] for partition in partitions}
        left = set(partitions)
        while left:
            message = consumer.poll(20)
            if message is None:
                sys.exit(f"history: no answer about {topic}")
            if message.error():
                # The end of what is committed.
                left.discard(message.partition())
                continue
            by_partition[message.partition()].append((message.key(), message.value()))
        records[table] = [record for partition in partitions for record in by_partition[partition]]
    consumer.close()
    return records


def lsn(text):
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


class Judge:
    def __init__(self):
        self.counts = collections.Counter()
        self.complaints = []

    def complain(self, what, text, count=1):
        self.counts[what] += count
        if len(self.complaints) < 20:
            self.complaints.append(f"{what}: {text}")

    def content(self, where, row, wanted):
        note = row["note"]
        if note == UNCHANGED:
            return
        found = None if note is None else hashlib.md5(note.encode()).hexdigest()
        if found != wanted["sum"]:
            self.complain("wrong", f"{where} ver {row['ver']}: the text differs")


def expected(lines):
    """table: key: [(op, ver, row, lsn)]; tables without a key: [(op, ver)]"""
    changes = {table: collections.defaultdict(list) for table in KEYS}
    for line in lines:
        entry = json.loads(line)
        table, op, old, new, at = entry["tbl"], entry["op"], entry["old"], entry["new"], lsn(entry["lsn"])
        of = changes[table]
        if KEYS[table] is None:
            of[None].append((op, (new or old)["ver"], new, at))
            continue
        key = lambda row: json.dumps(row["k"], sort_keys=True)
        if op == "u" and key(old) != key(new):
            of[key(old)].append(("d", None, None, at))
            of[key(new)].append(("c", new["ver"], new, at))
        elif op == "d":
            of[key(old)].append(("d", None, None, at))
        else:
            of[key(new)].append((op, new["ver"], new, at))
    return changes


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--history", required=True)
    options = parser.parse_args()
    judge = Judge()
    with open(options.history) as file:
        changes = expected(line for line in file if line.strip())
    for (topic, partition), (readable, end) in unended(options.bootstrap, options.prefix).items():
        judge.complain("open", f"{topic} {partition}: can be read to {readable} of {end}")
    records = read(options.bootstrap, options.prefix)
    snapshot_at = 0
    for of in records.values():
        for _, value in of:
            if value is not None:
                event = json.loads(value)
                if event["op"] == "r":
                    snapshot_at = max(snapshot_at, event["source"]["lsn"])

    for table, columns in KEYS.items():
        found = collections.defaultdict(list)
        for key, value in records[table]:
            judge.counts["records"] += 1
            event = None if value is None else json.loads(value)
            if columns is None:
                if event is None:
                    continue
                row = event["after"] or event["before"]
                found[None].append((event["op"], row["ver"], event))
                continue
            text = json.dumps({name: json.loads(key)[name] for name in columns}, sort_keys=True)
            if event is None:
                found[text].append(("t", None, None))
            else:
                ver = event["after"]["ver"] if event["op"] != "d" else None
                found[text].append((event["op"], ver, event))
        if columns is None:
            unordered(judge, table, changes[table][None], found[None], snapshot_at)
            continue
        for key in changes[table].keys() | found.keys():
            one(judge, f"{table} {key}", changes[table][key], found[key], snapshot_at)

    result = {name: judge.counts[name]
              for name in ["records", "changes", "lost", "duplicated", "out_of_order", "wrong", "tombstones",
                           "open"]}
    result["complaints"] = judge.complaints
    print(json.dumps(result))
    bad = sum(judge.counts[name] for name in ["lost", "duplicated", "out_of_order", "wrong", "tombstones", "open"])
    sys.exit(1 if bad else 0)


def one(judge, where, wanted, found, snapshot_at):
    """One key's history."""
    judge.counts["changes"] += len(wanted)
    events = [event for event in found if event[0] != "t"]
    for at, (op, _, _) in enumerate(found):
        if op == "d" and (at + 1 == len(found) or found[at + 1][0] != "t"):
            judge.complain("tombstones", f"{where}: a deletion without its tombstone")
    if not events:
        begin = len(wanted)
        # Nothing was sent: it was gone when the tables were copied.
        missed = [change for change in wanted if change[3] >= snapshot_at]
        if missed or (wanted and wanted[-1][0] != "d"):
            judge.complain("lost", f"{where}: no record of {shown(wanted)}", len(missed) or 1)
        return
    op, ver, _ = events[0]
    if op not in "rc":
        judge.complain("out_of_order", f"{where}: begins with {shown(events)}, and happened: {shown(wanted)}")
        return
    begin = next((at for at, change in enumerate(wanted) if change[1] == ver), None)
    if begin is None:
        judge.complain("wrong", f"{where}: version {ver} never was; {shown(events)}")
        return
    missed = [change for change in wanted[:begin] if change[3] >= snapshot_at]
    if missed:
        judge.complain("lost", f"{where}: {shown(missed)} before {shown(events)}", len(missed))
    if op == "c" and wanted[begin][0] != "c":
        judge.complain("wrong", f"{where}: {shown(events)} begins with the creation of what was changed")
    rest = [change[:2] for change in wanted[begin + 1:]]
    came = [event[:2] for event in events[1:]]
    if came != rest:
        missing, more = collections.Counter(rest), collections.Counter(came)
        lost, duplicated = missing - more, more - missing
        text = f"{where}: sent {shown(events)}, happened {shown(wanted[begin:])}"
        if lost:
            judge.complain("lost", text, lost.total())
        if duplicated:
            judge.complain("duplicated", text, duplicated.total())
        if not lost and not duplicated:
            judge.complain("out_of_order", text)
    for (op, ver, event), change in zip(events, wanted[begin:]):
        if op != "d" and ver == change[1]:
            judge.content(where, event["after"], change[2])


def unordered(judge, table, wanted, found, snapshot_at):
    judge.counts["changes"] += len(wanted)
    read = {ver for op, ver, _ in found if op == "r"}
    came = collections.Counter((op, ver) for op, ver, _ in found if op != "r")
    happened = collections.Counter((op, ver) for op, ver, _, _ in wanted)
    for event in (came - happened).elements():
        judge.complain("duplicated", f"{table}: {event}")
    at = {(op, ver): place for op, ver, _, place in wanted}
    for op, ver in (happened - came).elements():
        # Before the snapshot it is there as it was read, or gone again.
        if at[op, ver] >= snapshot_at:
            judge.complain("lost", f"{table}: {(op, ver)}")
    reads = collections.Counter(ver for op, ver, _ in found if op == "r")
    for ver, times in reads.items():
        if times > 1:
            judge.complain("duplicated", f"{table}: version {ver} was read {times} times", times - 1)
        if came["c", ver] or came["u", ver]:
            judge.complain("duplicated", f"{table}: version {ver} was read and streamed")
    rows = {ver: row for _, ver, row, _ in wanted if row}
    for op, ver, event in found:
        if op != "d" and ver in rows:
            judge.content(table, event["after"], rows[ver])
        elif op != "d":
            judge.complain("wrong", f"{table}: version {ver} never was")


def shown(changes):
    text = " ".join(f"{change[0]}{'' if change[1] is None else change[1]}" for change in changes[:40])
    return text + (f" .. {len(changes)}" if len(changes) > 40 else "")


if __name__ == "__main__":
    main()
