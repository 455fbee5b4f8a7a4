"""Rules of launches as far as syntax shows them: grids and axes, what is tuned, what a base has and must keep.

What is not written plainly is not judged: a finding says what stands there, never what might.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from rooflift.lint.findings import Findings
from rooflift.lint.launches import OPTIONS, Kernel, Launch, Launches, literal


def judge_launches(found: Launches, findings: Findings, *, told: bool) -> None:
    """Judge grids and tuning; `told`: a stage's prompt stated the rule of what may be tuned together."""
    for name, kernel in found.kernels.items():
        options = sorted(kernel.tuned & {*OPTIONS})
        blocks = sorted(kernel.tuned - {*OPTIONS})
        if options and blocks:
            what = f"{name} tunes {', '.join(blocks)} and {', '.join(options)} together"
            remedy = "Tune either block sizes, or num_warps and num_stages."
            findings.add("autotune", kernel.node, what, remedy, warn=not told)
    for launch in found.launches:
        kernel = found.kernels[launch.kernel]
        for name in sorted(kernel.tuned & {*launch.keywords}):
            what = f"{name} is tuned by a decorator of {launch.kernel} and passed at launch"
            findings.add("autotune_repeat", launch.node, what, "Pass it in one place.")
        if kernel.tuned - {*OPTIONS} and launch.grid is not None and not launch.is_function:
            what = f"the grid of {launch.kernel} is fixed while {', '.join(sorted(kernel.tuned - {*OPTIONS}))} is tuned"
            findings.add("autotune_grid", launch.node, what, "Write grid = lambda META: (...).")
        _grid(launch, kernel, findings)


def _grid(launch: Launch, kernel: Kernel, findings: Findings) -> None:
    if len(launch.ranks) > 1:
        what = f"the grid of {launch.kernel} has {' or '.join(map(str, sorted(launch.ranks)))} dimensions"
        findings.add("grid_rank", launch.node, what, "Give it always as many; a dimension may be 1.")
    if launch.grid is None:
        return
    if not 1 <= len(launch.grid) <= 3:
        what = f"the grid of {launch.kernel} has {len(launch.grid)} dimensions"
        findings.add("grid_rank", launch.node, what, "Use one to three.")
        return
    for axis in sorted(kernel.axes or ()):
        if axis >= len(launch.grid):
            what = f"{launch.kernel} asks for program_id({axis}); its grid has {len(launch.grid)} dimensions"
            findings.add("grid_axes", launch.node, what, "Give the grid that dimension, or ask for one it has.")
    for axis, length in enumerate(launch.grid):
        if kernel.axes is not None and axis not in kernel.axes and literal(length, launch.names) != 1:
            what = f"grid dimension {axis} of {launch.kernel} is used by no tl.program_id({axis})"
            findings.add("grid_axes", launch.node, what, "Use it in the kernel, or drop it from the grid.")


def judge_base(new: Launches, base: Launches, rules: Sequence[str], findings: Findings) -> None:
    """Judge what a candidate changed in the launches of its base; `rules` are those of its stage."""
    for name, kernel in new.kernels.items():
        before = next((launch for launch in base.launches if launch.kernel == name), None)
        if before is not None and kernel.configs and name in base.kernels and base.kernels[name].configs is None:
            wanted = OPTIONS | {k: literal(v, before.names) for k, v in before.keywords.items()}
            if not any(all(wanted.get(k) == v for k, v in (OPTIONS | config).items()) for config in kernel.configs):
                text = ", ".join(f"{key}={wanted[key]}" for key in sorted({*kernel.tuned, *OPTIONS}) if key in wanted)
                what = f"{name}: no configuration is the base's ({text})"
                findings.add("autotune_base", kernel.node, what, "Keep the base's configuration among those to try.")
    for launch in new.launches:
        same = [one for one in base.launches if one.kernel == launch.kernel]
        if not same and "grid_changed" in rules:
            what = f"{launch.kernel} is launched and was not in the base"
            findings.add("grid_changed", launch.node, what, "Keep the kernels of the base.")
        for one in same[:1]:
            was, now = (_grid_text(launch_) for launch_ in (one, launch))
            if was and now and was != now and "grid_changed" in rules:
                what = f"the grid of {launch.kernel} was {was} and is {now}"
                findings.add("grid_changed", launch.node, what, "Keep the grid of the base.")
            for name in sorted({*one.keywords} & {*launch.keywords}):
                values = literal(one.keywords[name], one.names), literal(launch.keywords[name], launch.names)
                if None not in values and values[0] != values[1] and name not in OPTIONS and "blocks_changed" in rules:
                    what = f"{name} of {launch.kernel} was {values[0]} and is {values[1]}"
                    findings.add("blocks_changed", launch.node, what, "Keep the block sizes of the base.")


def _grid_text(launch: Launch) -> str:
    """Return the grid as it is written, what META stands for put in; "" where it is not written plainly."""
    if launch.grid is None:
        return ""
    texts = []
    for length in launch.grid:
        text = ast.unparse(length)
        for part in ast.walk(length):
            if isinstance(part, ast.Subscript) and isinstance(part.slice, ast.Constant):
                text = text.replace(ast.unparse(part), str(part.slice.value))
        texts.append(text)
    return f"({', '.join(texts)})"
