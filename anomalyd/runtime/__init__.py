"""Floor 2: everything with a thread, a queue or a lock, and the one way that a reading travels."""
