"""What goes on for longer than a call: runs over trees, and the loops behind them."""
