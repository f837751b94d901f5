"""Floor 0: what is normal for a channel, and what is not. numpy; no clock, no I/O, no threads."""
