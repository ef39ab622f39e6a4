"""Calls within one process: a channel that reaches servicers without a socket, by the rules that hold over gRPC."""
