"""A person's files before anything is decoded: folders, archives, tables of boxes, idx files, XML - read as a stranger's.

Used by `pipeline/dataset` and by the commands. Nothing here is chosen in conf, and no image is opened.
"""
