"""Floor 1: the LSTM predictor, its training and its files. No threads, no clock."""
