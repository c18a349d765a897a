"""The command line: one file per verb; `main` puts them together. Imports are lazy, so that `--help` answers at once."""
