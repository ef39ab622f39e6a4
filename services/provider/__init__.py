"""The provider service: which model should answer, what it costs, and whether that may be spent."""
