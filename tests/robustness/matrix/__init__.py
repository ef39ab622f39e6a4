"""Every service under every fault, and what must hold once each fault is healed."""
