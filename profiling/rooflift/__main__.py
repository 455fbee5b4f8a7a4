"""`python -m rooflift`."""

from rooflift.cli.main import main

main()
