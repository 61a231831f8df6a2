"""DVC's cache, read byte by byte: what rotted, what is lost, and where it goes so that nobody is handed it.

- `objects`: every file of the cache against the hash that is its name.
- `runs`: every entry of the run-cache against the two hashes that are its name.
- `lost`: what `dvc.lock`, `*.dvc` files and directories name and the cache does not hold.
- `hidden`: what changed in the workspace behind an unchanged size and time.
- `locks`: the one lock file that a kill can leave unreadable.
- `deep`: all of these, and the quarantine.

`runs` is the one file of the project that uses DVC as a library; the others read its documented layout or ask its command.
"""
