"""The bus on NATS JetStream: a stream as the log, a key-value bucket for where subscriptions stand."""
