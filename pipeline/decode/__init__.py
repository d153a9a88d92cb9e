"""From the bytes of one file to a picture, a sound, a point cloud or a text: one policy for each format, everywhere.

What is read, what is not, and what is done about the odd ones stands in docs/formats-read.md.
"""
