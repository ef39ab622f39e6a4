"""The kit: what every service of the mesh stands on. It imports no service."""

import os

# read by grpcio when it is imported: our processes are started by exec, so its fork handlers only cost time and print warnings
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
