"""The Ollama /api/chat dialect."""
