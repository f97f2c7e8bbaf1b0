"""`python -m bailiwick.cli`."""

from bailiwick.cli import main

main()
