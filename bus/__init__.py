"""The event bus: a durable, ordered log with subscriptions, dead letters and followers, behind one gRPC contract."""
