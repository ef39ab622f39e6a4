"""Every SQL statement of the integration service, each a named function; one module a noun."""
