"""A run and its stages: files in, files out, in one folder."""
