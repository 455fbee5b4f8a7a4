"""A writer that plays a fixed list: `python play.py LIST [FOLDER]` prints the candidate of try ROOFLIFT_ITERATION.

LIST names a file a line, relative to its own folder. In FOLDER the prompts are kept, one file each time that it is
asked. After the last candidate it fails.
"""

import os
import sys
from pathlib import Path

told = sys.stdin.read()
listed, number = Path(sys.argv[1]), int(os.environ["ROOFLIFT_ITERATION"])
for folder in map(Path, sys.argv[2:]):
    folder.mkdir(exist_ok=True)
    times = len(list(folder.glob(f"{number:03}-*")))
    (folder / f"{number:03}-{times}.md").write_text(told, encoding="utf-8")
lines = [line for line in listed.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
if number > len(lines):
    sys.exit("the list is at its end")
sys.stdout.write((listed.parent / lines[number - 1]).read_text(encoding="utf-8"))
