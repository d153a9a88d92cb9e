"""What a corpus of any size would need, from measured rates: the arithmetic of `mcr plan --scale`."""
