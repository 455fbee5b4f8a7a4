"""The project's own modules that a kernel file imports."""

from __future__ import annotations

from pathlib import Path

from rooflift.project.imports import imported_modules


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_modules_are_found_through_packages_and_relative_imports_and_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "pyproject.toml": "[tool.rooflift]\n",
            "kernels/softmax/v0_first.py": "import torch\nfrom mine.fast.softmax import softmax as run\n",
            "src/mine/__init__.py": "",
            "src/mine/fast/softmax.py": "import os\nfrom ..blocks import BLOCK\nfrom . import helper\n",
            "src/mine/fast/helper.py": "",
            "src/mine/blocks.py": "import numpy\n",
            "src/mine/other.py": "",
            "torch.py": "a file that is not torch\n",
        },
    )
    version = tmp_path / "kernels" / "softmax" / "v0_first.py"
    found = imported_modules(version, version.parent)
    assert found.keys() == {"mine/__init__.py", "mine/fast/softmax.py", "mine/fast/helper.py", "mine/blocks.py"}


def test_a_module_behind_a_link_out_of_the_project_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, {"outside/secret.py": "", "project/kernels/op/v0_a.py": "import secret\n"})
    (tmp_path / "project" / "secret.py").symlink_to(tmp_path / "outside" / "secret.py")
    version = tmp_path / "project" / "kernels" / "op" / "v0_a.py"
    assert imported_modules(version, version.parent) == {}
