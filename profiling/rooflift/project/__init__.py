"""What is on disk: operators, version headers, cases, GPU specs, git revisions. Imports no kernel file."""
