"""What an agent should know of rooflift: the loop, the commands, the rules; as AGENTS.md or as a skill file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rooflift.api.project import project_root
from rooflift.api.shown import short
from rooflift.project.stages import stages
from rooflift.runs import atomic

BEGIN, END = "<!-- rooflift: begin -->", "<!-- rooflift: end -->"
LOOP = """\
rooflift makes GPU kernels fast with Nsight Compute as the guide. An operator has a reference in plain PyTorch and
numbered versions, each one step from the one before. The loop: list, show the operator; advice says what bounds the
newest version and which stage addresses it; prompt returns all that the next version needs; write a candidate, a
kernel file with class ModelNew; lint, then verify it; keep it as the next version with what you predict; profile it
where there is a GPU; compare it with the version before. Stop where advice says stop."""

COMMANDS = """\
| step | command |
| --- | --- |
| what is here, what this machine can measure | `rooflift show --json`, `rooflift doctor --json` |
| an operator of a function | `rooflift new operator NAME --from FILE.py:FUNCTION` |
| what bounds a version, and what to try | `rooflift advise OPERATOR --json` |
| all that the next version needs | `rooflift prompt OPERATOR VERSION --stage STAGE --gpu GPU` |
| the next version's file, a copy to change | `rooflift new version OPERATOR IDEA --stage STAGE` |
| a candidate checked without running it | `rooflift lint FILE --operator OPERATOR --stage STAGE --json` |
| correct? (without a GPU in Triton's interpreter) | `rooflift verify OPERATOR -v VERSION --json` |
| registers, spills, occupancy, without a GPU | `rooflift compile OPERATOR -v VERSION --json` |
| measured, on a GPU | `rooflift profile OPERATOR --json` |
| faster? | `rooflift compare RUN:v1 :v2 --json`, `rooflift gate RUN --json` |
| a report to attach | `rooflift report RUN` |"""

RULES = """\
- Change one thing a version, and write in its header what you expect of metrics before it is measured:
  `Expect: time_x < 0.9, dram_pct > 80`.
- A published version is frozen; the next idea is the next number. A version that lost keeps its number.
- Believe only what was measured: no time without `rooflift profile`, no verdict without `rooflift compare`.
- `--json` prints JSON on standard output; errors are JSON there with `message` and `remedy`. Exit codes: 0 fine, 1 a
  check failed, 2 usage or environment.
- `rooflift mcp` offers the same as tools, over stdio; candidates run in a sandbox there."""


@dataclass(frozen=True)
class Skill:
    """The file that was written."""

    path: Path

    def parts(self) -> list[str]:
        """Return what a terminal shows."""
        return [f"Wrote {short(self.path)}"]

    def record(self) -> dict[str, Any]:
        """Return the file for a program."""
        return {"written": short(self.path)}


def skill_text() -> str:
    """Return the text in Markdown, without a heading of its own file."""
    named = ", ".join(stages())
    return f"{LOOP}\n\n{COMMANDS}\n\nStages: {named}.\n\n{RULES}\n"


def write_skill(
    form: Literal["agents", "skill"] = "agents", out: Path | str | None = None, root: Path | str | None = None
) -> Skill:
    """Write AGENTS.md, whose other text stays as it is, or skills/rooflift/SKILL.md with its front matter.

    Raises:
        CatalogError: no project is found.
        RunFault: the file cannot be written.
    """
    top = project_root(root)
    if form == "skill":
        path = Path(out) if out else top / "skills" / "rooflift" / "SKILL.md"
        about = "Make GPU kernels fast with Nsight Compute: profile, advise, verify and compare kernel versions."
        text = f"---\nname: rooflift\ndescription: {about}\n---\n\n# rooflift\n\n{skill_text()}"
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        path = Path(out) if out else top / "AGENTS.md"
        own = f"{BEGIN}\n## Kernels: rooflift\n\n{skill_text()}{END}\n"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        head, found, rest = before.partition(BEGIN)
        text = head + own + rest.partition(END)[2].lstrip("\n") if found else "\n".join(filter(None, [before, own]))
    atomic.write_file(path, text)
    return Skill(path)
