"""The event bus: a durable, ordered log with subscriptions, dead letters and followers, behind one gRPC contract."""

import mesh  # noqa: F401 - what it sets for gRPC must stand before the first import of that
