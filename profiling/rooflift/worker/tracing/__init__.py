"""What Python loads by itself in a program that `rooflift capture` runs: this folder stands first in PYTHONPATH."""
