"""The services of the mesh: each a house of its own with the same rooms."""

import mesh  # noqa: F401 - what it sets for gRPC and httpx must stand before a service's first import of either
