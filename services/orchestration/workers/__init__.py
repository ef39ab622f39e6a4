"""What works in the background: calls of nodes, runs, tasks, the training of the classifier."""
