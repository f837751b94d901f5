"""Floor 1: the outside world, one file each; strangers to each other and to the model."""
