"""What the stage `ingest` does with the entries of a dataset: let each image pass once, remember files, count, tell people."""
