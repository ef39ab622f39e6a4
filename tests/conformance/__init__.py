"""One suite for every way of running the bus: in process, over gRPC on SQLite, over gRPC on JetStream."""
