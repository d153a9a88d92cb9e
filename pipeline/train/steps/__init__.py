"""A step of the training: its batch, its precision, its randomness, and how it is repeated."""
