"""From the bytes of an image file to pixels of one fixed shape, in processes that no file can take down.

`decode` says what is done with every kind of file; `pool` runs it. Nothing here is chosen in conf; the numbers stand under
`ingest` in conf/config.yaml.
"""
