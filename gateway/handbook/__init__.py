"""The documentation site: pages written by hand in docs/, and a reference made from the contracts, the settings and the command."""
