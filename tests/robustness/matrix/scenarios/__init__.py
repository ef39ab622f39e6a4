"""One scenario a service: real work through its gRPC API, and what must be true of it afterwards."""
