"""What the door shows and decides: the system API, the OpenAPI document, the static pages, and the start of the whole mesh."""

import os

import mesh  # noqa: F401 - what it sets for gRPC and httpx must stand before the first import of either

# read by grpcio when it is imported, here and in every child: processes are started by exec, so its fork handlers only warn
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
