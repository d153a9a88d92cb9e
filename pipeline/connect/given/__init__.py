"""What a program hands over: arrays, lists and devices of any kind, taken for what they are or refused in a sentence."""
