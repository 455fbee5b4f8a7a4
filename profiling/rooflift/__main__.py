"""`python -m rooflift`."""

from rooflift.cli import main

main()
