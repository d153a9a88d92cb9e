"""Give a connection away: a folder, or a repository of the Hugging Face Hub, that others load in three lines."""
