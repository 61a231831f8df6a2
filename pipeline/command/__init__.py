"""Commands for people: one file each; its docstring's first line is the purpose, `main(argv)` returns the exit code."""
