"""The bus beside NATS JetStream, Redis Streams and RabbitMQ, and alone: many followers, a long backlog, a long run."""

# before any module here loads gRPC, as in every process of the mesh: it reads its settings once, when it is loaded
import mesh  # noqa: F401
