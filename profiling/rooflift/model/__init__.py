"""What it means: floors, roofs, what bounds a version, predictions. No files, no GPU."""
