"""Code that travels inside a file of a target and runs in another program."""
