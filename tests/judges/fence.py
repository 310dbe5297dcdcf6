#!/usr/bin/env python3
"""fence.py BOOTSTRAP ID: takes a transactional id over, and does nothing with it."""
import sys

from confluent_kafka import Producer

bootstrap, name = sys.argv[1:]
Producer({"bootstrap.servers": bootstrap, "transactional.id": name, "log_level": 0}).init_transactions(30)
