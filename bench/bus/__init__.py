"""The bus beside NATS JetStream, Redis Streams and RabbitMQ, and alone: many followers, a long backlog, a long run."""
