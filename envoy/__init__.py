"""The door: how Envoy's configuration is made from the contracts and the catalogue of services, and how Envoy is found and run."""
