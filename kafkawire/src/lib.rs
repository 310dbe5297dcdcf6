//! Kafka wire protocol: requests, responses and record batches, both ways.
