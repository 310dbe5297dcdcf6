//! PostgreSQL streaming replication: the wire protocol, from the client side.
