"""`python -m fadeout`: the command line."""

from fadeout.cli import main

main()
