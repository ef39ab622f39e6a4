"""What a call or a heard event sets in motion: stored state, other systems and told events, in the order that survives a crash."""
