"""What the service's calls do, one module a noun."""
