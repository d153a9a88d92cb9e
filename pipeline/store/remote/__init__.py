"""Parts whose bytes lie at an address (`s3://`, `gs://`, `file://`): how they get there, and how they are read."""
