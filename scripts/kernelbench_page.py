"""Write docs/kernelbench.md again from the records below reports/kernelbench."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "reports" / "kernelbench"
PAGE = ROOT / "docs" / "kernelbench.md"
DTYPES = ("float32", "float16", "bfloat16")
HAND = {  # elements read and written, of 4 bytes each, and FLOP: by hand, from the problems' sizes
    "1/1": ("2 * 4096**2", "4096**2", "2 * 4096**3"),
    "1/3": ("128 * (512 * 1024 + 1024 * 2048)", "128 * 512 * 2048", "2 * 128 * 512 * 1024 * 2048"),
    "1/4": ("2048 * 1048576 + 1048576", "2048", "2 * 2048 * 1048576"),
    "1/6": ("2 * 256 * 524288", "256**2", "2 * 256**2 * 524288"),
    "1/11": ("8 * 256 * 512 * 256 + 256 * 768", "8 * 256 * 512 * 768", "2 * 8 * 256 * 512 * 256 * 768"),
    "1/19": ("4096 * 393216", "4096 * 393216", ""),
    "1/40": ("(16 + 2) * 64 * 256**2", "16 * 64 * 256**2", ""),
    "1/47": ("128 * 4096 * 4095", "128 * 4095", ""),
    "1/63": ("16 * 16 * 1024**2 + 128 * 16 * 9", "16 * 128 * 1022**2", "2 * 16 * 128 * 1022**2 * 16 * 9"),
    "1/82": ("16 * 64 * 512**2 + 64 * 9", "16 * 64 * 510**2", "2 * 16 * 64 * 510**2 * 9"),
    "1/87": ("16 * 64 * 1024**2 + 128 * 64", "16 * 128 * 1024**2", "2 * 16 * 128 * 1024**2 * 64"),
    "1/95": ("32768 * 4096 + 2 * 32768", "1", ""),  # targets are int64: two words each
    "1/97": ("3 * 32 * 32 * 512 * 1024", "32 * 32 * 512 * 1024", "4 * 32 * 32 * 512**2 * 1024"),
    "2/76": ("1024 * 8192 + 8192**2 + 8192", "1024 * 8192", "2 * 1024 * 8192**2"),
    "3/1": (
        "128 * 16384 + 2 * (16384**2 + 16384) + 16384 * 8192 + 8192",
        "128 * 8192",
        "2 * 128 * (2 * 16384**2 + 16384 * 8192)",
    ),
}
TEXT = """# KernelBench

`rooflift new --kernelbench FOLDER` makes operators of KernelBench's problem files as they stand; `rooflift verify OPERATOR --candidate
FILE` and `rooflift profile OPERATOR --candidate FILE` take candidates in its form, `ModelNew` alone, in Triton or CUDA C++.

All {problems} problems of levels 1 to 3 become operators. {small} of them have a small test case, which was found by halving module
constants; the remark says why the others have none. The reference's own code as a version has to pass. It does in float32 for
{float32}, in float16 for {float16} and in bfloat16 for {bfloat16} of these {small} (torch {torch} on the CPU, two seeds; where torch has
no 16-bit kernel there, on the GPU, one seed). 3/48 and 3/49 need the package einops. On an {gpu} (torch {gpu_torch}) {measured} problems were timed at their own sizes, and the
reference was checked as a version there: it passes for {right} of {checked}.

`rooflift verify --kernelbench` judges as KernelBench does, which is another question:

| | KernelBench's evaluation | `rooflift verify` |
| --- | --- | --- |
| the truth | the reference in the same dtype | the reference in float64 |
| right is | allclose, atol = rtol = 1e-4 in float32, 1e-2 in 16 bits | within [the error model](correctness.md) |
| weights | what each draws under seed 42; those of norms are 1 | the reference's, copied; those of norms are drawn at random |
| inputs | five seeds; it casts integers, too, which `--kernelbench` does not, so that cross entropy runs | two seeds; unwritten memory holds NaN |
| time | mean of cold calls, in milliseconds | median of rounds in random order, in microseconds |

`rooflift show --fast-p` prints fast_p: the share of operators whose fastest version is more than p times as fast as `torch_eager`.

`scripts/kernelbench.py` and `scripts/kernelbench_gpu.py` measure, `scripts/kernelbench_page.py` writes this page.

## Without a GPU

MB: compulsory bytes in float32, at the problem's own sizes. GFLOP: by torch's counter; none where it knows no operation of the problem.
Products with the zeros of a triangle or a diagonal count as products (1/12 to 1/15), unless a case states its FLOP.
float32, float16, bfloat16: the largest error of the reference's own code on the small case, over what is allowed; at most 1 passes.

"""  # noqa: E501  # a page of docs
GPU_TEXT = """
## On an H100

In float32 without TF32, at the problems' own sizes. `stream` moves the compulsory bytes and does nothing else. SOL % is that of torch_eager:
FLOP of products over the measured FP32 rate, or the stream, whichever takes longer; elementwise work has no compute term. Error: of the
reference as a version. Peak: the GPU's memory in that check. Where it is out of memory, tensors of one run in float64 were still held
when the next began. They are not any more: by the tensors that are alive at once, 1/45 takes 3.06 times its input, 53 of 85 GB, which was
not measured again.

"""  # noqa: E501  # a page of docs
HAND_TEXT = """
## By hand

Bytes and FLOP of 15 problems, from their sizes; a test holds the counted ones equal to them. An element has 4 bytes.

| problem | elements read | elements written | FLOP |
| --- | --- | --- | --- |
"""  # a page of docs


def read(name: str) -> dict[str, Any]:
    """Return a record: the machine, and one object a problem."""
    found: dict[str, Any] = json.loads((RECORDS / name).read_text(encoding="utf-8"))
    return found


def page(cpu: dict[str, Any], gpu: dict[str, Any]) -> str:
    """Return the page: what came of each problem without a GPU and on one."""
    problems, on_gpu = cpu["problems"], {one["problem"]: one for one in gpu["problems"]}
    mirrors = [one for one in problems if "mirror" in one]
    passed = {dtype: sum("error" in _mirror(one, on_gpu, dtype) for one in mirrors) for dtype in DTYPES}
    checked = [one for one in gpu["problems"] if "check" in one]
    text = TEXT.format(
        problems=len(problems),
        small=len(mirrors),
        **passed,
        torch=cpu["machine"]["torch"],
        gpu=gpu["machine"]["gpu"],
        gpu_torch=gpu["machine"]["torch"],
        measured=len(gpu["problems"]),
        checked=len(checked),
        right=sum(isinstance(one["check"], float) for one in checked),
    )
    first = ["problem", "its own inputs", "MB", "GFLOP", "small case", *DTYPES, "remark"]
    second = ["problem", "MB", "GFLOP", "torch_eager us", "stream us", "SOL us", "binds", "SOL %", "error", "peak GB"]
    hand = "".join(f"| {one} | {' | '.join(f'`{x}`' if x else '' for x in parts)} |\n" for one, parts in HAND.items())
    return (
        text
        + _table(first, [_row(one, on_gpu) for one in problems])
        + GPU_TEXT
        + _table(second, _gpu_rows({one["problem"]: one for one in problems}, gpu))
        + HAND_TEXT
        + hand
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _mirror(one: dict[str, Any], on_gpu: dict[str, Any], dtype: str) -> dict[str, Any]:
    own: dict[str, Any] = one.get("mirror", {}).get(dtype, {})
    return on_gpu.get(one["problem"], {}).get("mirror", {}).get(dtype) or own


def _title(one: dict[str, Any]) -> str:
    return f"{one['problem']} {one['operator'].split('_', 2)[2].replace('_', ' ')}"


def _row(one: dict[str, Any], on_gpu: dict[str, Any]) -> list[str]:
    mirrors = {dtype: _mirror(one, on_gpu, dtype) for dtype in DTYPES}
    remarks = [one[name] for name in ("refused", "note") if name in one]
    remarks += [f"{dtype}: {mirror['fault']}" for dtype, mirror in mirrors.items() if "fault" in mirror]
    if any("error" in found for found in on_gpu.get(one["problem"], {}).get("mirror", {}).values()):
        remarks.append("16 bits on the GPU: torch has no such kernel on the CPU")
    missing = one.get("flop_missing", "")
    remarks += [f"FLOP: the count {missing}"] if missing and not missing.startswith("knows no") else []
    small = ", ".join(f"{name} {_size(value)}" for name, value in one.get("constants", {}).items())
    cells = [f"{mirror['error']:.2f}" if "error" in mirror else "" for mirror in mirrors.values()]
    return [
        _title(one),
        "; ".join(one.get("inputs", [])),
        _megabytes(one),
        _gigaflop(one),
        small or ("as it stands" if "mirror" in one else ""),
        *cells,
        "; ".join(remarks),
    ]


def _shown(check: str) -> str:
    return "out of memory" if check.startswith("OutOfMemoryError") else check


def _size(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def _megabytes(one: dict[str, Any]) -> str:
    return f"{(one['read_bytes'] + one['written_bytes']) / 1e6:,.1f}" if "read_bytes" in one else ""


def _gigaflop(one: dict[str, Any]) -> str:
    return f"{one['flop'] / 1e9:,.4g}" if one.get("flop") else ""


def _gpu_rows(problems: dict[str, dict[str, Any]], gpu: dict[str, Any]) -> list[list[str]]:
    import pandas as pd

    from rooflift.analysis.sol import speed_of_light
    from rooflift.runs.roofs import newest_roofs
    from rooflift.schema import ResolvedCase

    roofs = newest_roofs(ROOT / "reports", gpu["machine"]["gpu"])
    rows = []
    for one in gpu["problems"]:
        counted, moved = problems[one["problem"]], one["read_bytes"] + one["written_bytes"]
        case = ResolvedCase("main", "float32", [], [], moved, counted.get("flop"), "torch's FLOP counter")
        times = [{"provider": p, "case": "main", "dtype": "float32", "median_us": t} for p, t in one["times"].items()]
        sol = speed_of_light(case, pd.DataFrame(times), roofs, gpu["machine"]["gpu"])
        check = one.get("check", "not tried: the time was over")
        rows.append(
            [
                _title(counted),
                _megabytes(one),
                _gigaflop(counted),
                f"{one['times']['torch_eager']:,.1f}",
                f"{one['times']['stream']:,.1f}",
                f"{sol.time_us:,.1f}",
                sol.binds,
                f"{sol.pct(one['times']['torch_eager']):.1f}",
                f"{check:.2f}" if isinstance(check, float) else _shown(check),
                f"{one['check_peak_bytes'] / 1e9:.1f}" if "check_peak_bytes" in one else "",
            ]
        )
    return rows


if __name__ == "__main__":
    PAGE.write_text(page(read("cpu.json"), read("h100.json")), encoding="utf-8")
    print(f"Wrote {PAGE}")
