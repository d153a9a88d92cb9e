"""Symmetric InfoNCE: the whole matrix of scores at once, or a block of rows at a time."""
