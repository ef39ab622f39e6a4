"""What a call does in its transaction: store, domain and events brought together."""
