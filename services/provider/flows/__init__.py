"""What reads and writes: domain rules and stores put together, the registry files, looks at local addresses."""
