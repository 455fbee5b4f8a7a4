"""How the cost of what is read grows with its amount: ten times as much should take at most ten times as long.

`python benchmarks/scale.py` prints seconds and ratios of whole commands: `rooflift runs` of 100 and 1,000 runs,
`rooflift compare` over 50 and 500 cases.
"""

from __future__ import annotations

from pathlib import Path

from rooflift.compile.module import load_module

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Print one line a command."""
    reliability = load_module(ROOT / "scripts" / "reliability.py")
    for what, measure, few in (
        ("runs listed", reliability.list_runs, 100),
        ("cases compared", reliability.compare_cases, 50),
    ):
        few_s, many_s = measure(few), measure(10 * few)
        print(f"{few} and {10 * few} {what}: {few_s:.2f} s and {many_s:.2f} s, ratio {many_s / few_s:.2f}")


if __name__ == "__main__":
    main()
