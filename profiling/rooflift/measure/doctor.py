"""What a machine can do for rooflift, each problem with its remedy."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from rooflift.errors import RoofliftError
from rooflift.measure import environment
from rooflift.ncu.failures import COUNTERS_REMEDY
from rooflift.project.operator import find_root, operator_names
from rooflift.project.settings import kernels_folder
from rooflift.sandbox.enter import ROWS
from rooflift.sandbox.sandbox import REMEDY, find_sandbox

LEAST_DISK_BYTES = 2 * 2**30  # triton's cache, a full-set report and a run folder


class Finding(msgspec.Struct, frozen=True):
    """One line of the examination."""

    name: str
    status: Literal["ok", "problem", "note"]  # a note hinders nothing that this machine can do
    detail: str
    remedy: str = ""


def examine(root: Path) -> list[Finding]:
    """Look at project, GPU, driver, ncu, performance counters, packages, disk, sandbox. Never raises."""
    looks: list[Callable[[], Finding]] = [
        lambda: _project(root),
        _python,
        _gpu,
        _ncu,
        _counters,
        *(lambda name=name, why=why: _package(name, why) for name, why in PACKAGES.items()),
        lambda: _disk(root),
        *(lambda row=row: _confined(row) for row in ROWS),
    ]
    return [look() for look in looks]


PACKAGES = {
    "ncu-report": "reads .ncu-rep files",
    "torch": "runs references and kernels",
    "triton": "compiles kernels",
}


def _project(root: Path) -> Finding:
    """Say which project this is, and what comes next in it."""
    try:
        top = find_root(root.resolve())
        names = operator_names(top)
    except RoofliftError as error:
        return Finding("project", "note", error.message, error.remedy)
    where = f"{len(names)} operators and ladders in {kernels_folder(top)}"
    if not names:
        remedy = "`rooflift new operator NAME --from FILE.py:FUNCTION` makes one of a function."
        return Finding("project", "note", where.replace("0 operators and ladders", "no operator"), remedy)
    return Finding(
        "project", "ok", f"{where}; next: `rooflift verify {names[0]}`, on a GPU `rooflift profile {names[0]}`"
    )


def _python() -> Finding:
    return Finding("python", "ok", ".".join(map(str, sys.version_info[:3])))


def _gpu() -> Finding:
    try:
        driver = environment.driver()
    except RoofliftError as error:
        return Finding("gpu", "problem", error.message, error.remedy)
    return Finding("gpu", "ok", f"{', '.join(driver.gpus)} (driver {driver.version})")


def _ncu() -> Finding:
    try:
        version = environment.ncu_version()
    except RoofliftError as error:
        return Finding("ncu", "problem", error.message, error.remedy)
    if not version:
        return Finding("ncu", "problem", "ncu does not tell its version", "Run `ncu --version` to see what it says.")
    return Finding("ncu", "ok", version)


def _counters() -> Finding:
    restricted = environment.counters_restricted()
    if restricted is None:
        return Finding("performance counters", "note", "no NVIDIA driver here that could allow or refuse them")
    if not restricted:
        return Finding("performance counters", "ok", "open to every user")
    if environment.may_profile_anyway():
        return Finding("performance counters", "ok", "for administrators; this process is one")
    return Finding(
        "performance counters", "problem", "for administrators only (RmProfilingAdminOnly: 1)", COUNTERS_REMEDY
    )


def _package(name: str, why: str) -> Finding:
    version = environment.package_version(name)
    if version is None:
        return Finding(name, "problem", f"not installed; it {why}", f"Run `pip install {name}`.")
    if name == "torch" and version.endswith("+cpu") and _gpu().status == "ok":
        return Finding(name, "problem", f"{version} cannot use the GPU", "Install a CUDA build: `pip install torch`.")
    return Finding(name, "ok", version)


def _disk(root: Path) -> Finding:
    try:
        free = shutil.disk_usage(root).free
    except OSError as error:
        return Finding("disk", "problem", str(error), "Name a folder that exists with --root.")
    detail = f"{free / 2**30:.0f} GiB free"
    if free < LEAST_DISK_BYTES:
        return Finding("disk", "problem", detail, "Free some space: a run needs up to 2 GiB for caches and reports.")
    return Finding("disk", "ok", detail)


SANDBOXED = {
    "network": "untrusted kernels have none",
    "processes": "those of untrusted kernels end with them",
    "files written": "by untrusted kernels in a scratch folder alone",
    "files read": "by untrusted kernels those of the system and Python alone",
}


def _confined(row: str) -> Finding:
    name = f"sandboxed {row}"
    if row in find_sandbox().missing:
        return Finding(name, "problem", "untrusted kernels cannot be sandboxed in this", REMEDY)
    return Finding(name, "ok", SANDBOXED[row])
