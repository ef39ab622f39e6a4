"""Every SQL statement of the analytics service: events and health in `heard`, metrics in `metrics`, users in `users`."""
