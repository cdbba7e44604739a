"""The command line: one command a file, options in, answer and exit code out."""
