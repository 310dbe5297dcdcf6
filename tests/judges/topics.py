#!/usr/bin/env python3
"""topics.py BOOTSTRAP list | create NAME PARTITIONS [key=value…] | delete NAME… | describe NAME

Topics by confluent-kafka's AdminClient. describe prints {"partitions": N, "config": {…}}.
"""
import json
import sys

from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

bootstrap, verb, *rest = sys.argv[1:]
admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
match verb:
    case "list":
        print("\n".join(sorted(admin.list_topics(timeout=20).topics)))
    case "create":
        name, partitions, *config = rest
        config = dict(pair.split("=", 1) for pair in config)
        admin.create_topics([NewTopic(name, int(partitions), 1, config=config)])[name].result(30)
    case "delete":
        for done in admin.delete_topics(rest).values():
            done.result(30)
    case "describe":
        resource = ConfigResource(ResourceType.TOPIC, rest[0])
        config = admin.describe_configs([resource])[resource].result(30)
        print(json.dumps({
            "partitions": len(admin.list_topics(rest[0], timeout=20).topics[rest[0]].partitions),
            "config": {name: entry.value for name, entry in config.items()},
        }))
    case _:
        sys.exit(__doc__)
