#!/usr/bin/env python3
"""captured.py FILE.jsonl: the Avro bytes of captured Debezium records, read by fastavro, a JSON line a record:
topic, key, value as consume.py prints them; false where AvroConverter refused, or fastavro refuses the schema."""
import io
import json
import sys

import fastavro

from consume import plain


def read(record, part):
    if record.get("avroError"):
        return False
    data, schema = record[f"{part}AvroHex"], record[f"{part}AvroSchema"]
    if data is None:
        return None
    try:
        parsed = fastavro.parse_schema(schema)
    except fastavro.schema.SchemaParseException:
        return False
    return plain(fastavro.schemaless_reader(io.BytesIO(bytes.fromhex(data)[5:]), parsed, None))


for line in open(sys.argv[1]):
    record = json.loads(line)
    print(json.dumps({"topic": record["topic"], "key": read(record, "key"), "value": read(record, "value")}))
