"""Operators, their ladders and versions, found from file names; no kernel file is imported.

The versions beside reference.py are the operator's general ladder, those in a folder below a ladder of their own. An
`Operator` is one ladder: "conv" names the general one, "conv/large" another.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rooflift.errors import CatalogError, did_you_mean
from rooflift.files import read_text
from rooflift.project.cases import MAIN, Case, ladder_cases, read_cases
from rooflift.project.header import Header, parse_header
from rooflift.project.settings import has_settings, kernels_folder
from rooflift.project.stages import stages

MOST_BYTES = 2**22  # of a Python file; the longest kernel file seen in the field has 100 KiB
_VERSION_FILE = re.compile(r"^v(?P<number>0|[1-9]\d*)_[a-z0-9_]+\.py$")

NEXT = (
    "Begin one: `rooflift new operator NAME --from FILE.py:FUNCTION` makes an operator of a function, `rooflift new "
    "project` a project without any. Or go into a project's folder, or name it with --root."
)
BASELINE = "baseline"  # the stage of a ladder's first version, which changes nothing
RUN = "run"  # the function that a version may have in place of ModelNew
CANDIDATE = "candidate"  # the stage of a file without a header


@dataclass(frozen=True, slots=True)
class Version:
    """One numbered kernel file."""

    number: int
    name: str  # the file's stem, such as v1_grid
    path: Path
    header: Header


@dataclass(frozen=True, slots=True)
class Operator:
    """One ladder of an operator: the reference, the ladder's versions in order, the cases that it serves by name."""

    name: str
    folder: Path  # of the operator, whichever ladder it is
    versions: tuple[Version, ...]
    cases: dict[str, Case]
    ladder: str = ""  # the folder of its versions below the operator's; "" is the general ladder
    main: str = MAIN  # the case that the ladder is about

    @property
    def label(self) -> str:
        """What names the ladder in commands: "conv", or "conv/large"."""
        return f"{self.name}/{self.ladder}" if self.ladder else self.name

    def file_name(self, path: Path) -> str:
        """Return a file of the operator by the name that run.json gives it: kernels/<operator>/...

        A file elsewhere, such as a candidate that is timed before it is kept, goes by its name alone.
        """
        inside = path.relative_to(self.folder).as_posix() if path.is_relative_to(self.folder) else path.name
        return f"kernels/{self.name}/{inside}"

    @property
    def dispatch(self) -> Path | None:
        """The module that chooses the version that serves an input, of the general ladder; None without one."""
        path = self.folder / "dispatch.py"
        return path if not self.ladder and path.exists() else None

    @property
    def baselines(self) -> Path | None:
        """The module of baselines beside torch's, of all ladders; None without one."""
        path = self.folder / "baselines.py"
        return path if path.exists() else None

    @property
    def reference(self) -> Path:
        """The operator in plain PyTorch."""
        return self.folder / "reference.py"

    def select_versions(self, wanted: Sequence[str]) -> list[Version]:
        """Return the versions named by stem (v1_grid), number (v1 or 1), or all of them for no name, in order.

        Raises:
            CatalogError: a name is unknown; near names are suggested.
        """
        chosen = {self._version(name).number for name in wanted}
        return [version for version in self.versions if not wanted or version.number in chosen]

    def _version(self, wanted: str) -> Version:
        for version in self.versions:
            if wanted in (version.name, f"v{version.number}", str(version.number)):
                return version
        remedy = did_you_mean(wanted, [version.name for version in self.versions])
        raise CatalogError(f"{self.label}: no version {wanted!r}", remedy)

    def select_cases(self, wanted: Sequence[str], use: str) -> list[Case]:
        """Return the named cases, or all that serve `use`.

        Raises:
            CatalogError: a name is unknown; near names are suggested.
        """
        for name in wanted:
            if name not in self.cases:
                raise CatalogError(f"{self.label}: no case {name!r}", did_you_mean(name, self.cases))
        return [c for c in self.cases.values() if c.name in wanted or (not wanted and use in c.use)]


def find_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that holds kernels/, or whose pyproject.toml has [tool.rooflift].

    Raises:
        CatalogError: there is none.
    """
    for folder in (start, *start.parents):
        if has_settings(folder):
            return folder
        if (folder / "kernels").is_dir():  # which may be the folder that a table above names
            above = next((one for one in folder.parents if has_settings(one)), folder)
            return above if kernels_folder(above) == folder / "kernels" else folder
    raise CatalogError(f"{start}: no project here or above", NEXT)


def operator_names(root: Path) -> list[str]:
    """Return the names of all ladders: folders below kernels/ with a reference.py, and those below with versions."""
    folders = sorted(path.parent for path in kernels_folder(root).glob("*/reference.py"))
    return [name for folder in folders for name in (folder.name, *(f"{folder.name}/{x}" for x in _ladders(folder)))]


def _ladders(folder: Path) -> list[str]:
    return sorted({path.parent.name for path in folder.glob("*/v[0-9]*.py")})


def load_operator(root: Path, name: str, *, bare: bool = False) -> Operator:
    """Read one ladder of an operator; with `bare` one that has no version yet, too.

    Raises:
        CatalogError: the operator or ladder is unknown, or one of its files is malformed; with file and line.
    """
    if name not in operator_names(root):
        raise CatalogError(f"no operator {name!r} in {kernels_folder(root)}", did_you_mean(name, operator_names(root)))
    operator, _, ladder = name.partition("/")
    folder = kernels_folder(root) / operator
    _require(_parse(folder / "reference.py"), folder / "reference.py", ["Model", "get_inputs", "get_init_inputs"])
    main, cases = MAIN, read_cases(folder / "cases.toml")
    if ladder:
        main, cases = ladder_cases(folder / "cases.toml", ladder, cases)
    versions = _versions(folder / ladder, cases)
    if not versions and not bare:
        remedy = "Add v0_baseline.py, the version that the others are measured against, or let an agent write it: "
        remedy += f"`rooflift optimize {name} --agent COMMAND`."
        raise CatalogError(f"{folder / ladder}: no version", remedy)
    return Operator(operator, folder, versions, cases, ladder, main)


def _versions(folder: Path, cases: Mapping[str, Case]) -> tuple[Version, ...]:
    """Return the versions in a folder in order, counted from v0 without a gap."""
    read = (_read_version(path, cases) for path in folder.glob("v[0-9]*.py"))
    versions = sorted(read, key=lambda version: (version.number, version.name))
    for expected, version in enumerate(versions):
        if version.number != expected:
            fault = "twice" if version.number < expected else f"but v{expected} is missing"
            raise CatalogError(
                f"{version.path}:1: version number {version.number} stands here {fault}",
                "Versions count up from v0 without a gap; a version that lost keeps its number.",
            )
    return tuple(versions)


def _read_version(path: Path, cases: Mapping[str, Case]) -> Version:
    match = _VERSION_FILE.match(path.name)
    if match is None:
        raise CatalogError(f"{path}:1: not a version's file name", "Name it v<number>_<idea>.py, such as v2_tiling.py.")
    tree = _parse(path)
    header = parse_header(tree, path)
    require_known(header, path, int(match["number"]), cases)
    _require_entry(tree, path)
    return Version(int(match["number"]), path.stem, path, header)


def candidate_version(operator: Operator, path: Path) -> Version:
    """Return a kernel file from anywhere as a version of an operator, named after its file.

    It needs the class ModelNew alone, as candidates of KernelBench have it, or run(*inputs); without a header its title
    is its name.

    Raises:
        CatalogError: there is no such file, it is no Python, or has neither ModelNew nor run.
    """
    if not path.is_file():
        raise CatalogError(f"{path}: no such file", "Name the file with the candidate.")
    tree = _parse(path)
    _require_entry(tree, path)
    try:
        header = parse_header(tree, path)
    except CatalogError:
        header = Header(path.name, CANDIDATE, "none", "none", ())
    name = slug(path.stem)
    taken = {version.name for version in operator.versions} | {"reference", "dispatch"}
    return Version(len(operator.versions), f"candidate_{name}" if name in taken else name, path, header)


def slug(text: str) -> str:
    """Return a text in small letters, digits and single underscores.

    >>> slug("Conv2D + ReLU.v2")
    'conv2d_relu_v2'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "operator"


def require_known(header: Header, path: Path, number: int, cases: Mapping[str, Case]) -> None:
    """Refuse a stage that stages.toml lacks, and a prediction for a case that the ladder does not serve.

    Raises:
        CatalogError: it has one of them.
    """
    if header.stage not in stages() and not (number == 0 and header.stage == BASELINE):
        known = f"Name one of {', '.join(stages())}; the first version of a ladder may be the {BASELINE}."
        raise CatalogError(f"{path}:1: Stage: no stage {header.stage!r} in stages.toml", known)
    for prediction in header.expect:
        case = cases.get(prediction.case)
        if prediction.case and (case is None or (prediction.dtype and prediction.dtype not in case.dtypes)):
            remedy = "Write `case/dtype: metric low..high` with a case and dtype that the ladder serves."
            raise CatalogError(f"{path}:1: Expect: {prediction.text}: the ladder has no such case", remedy)


def _parse(path: Path) -> ast.Module:
    try:
        return ast.parse(read_text(path, MOST_BYTES), filename=str(path))
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror}", "Name a Python file of at most 4 MiB.") from None
    except SyntaxError as error:
        raise CatalogError(f"{path}:{error.lineno or 1}: {error.msg}", "Correct the syntax.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CatalogError(f"{path}:{line}: not UTF-8 text: {error}", "Save the file as UTF-8.") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL character, or what Python's parser gives up at
        what = str(error) or "it nests too deeply"
        raise CatalogError(f"{path}: {what}", "Python cannot parse the file; simplify it.") from None


def _require_entry(tree: ast.Module, path: Path) -> None:
    """Refuse a version with neither the class ModelNew nor `run`, a function, an alias or an import."""
    if not {"ModelNew", RUN} & {name for node in tree.body for name in bound(node)}:
        last = max(1, len(read_text(path, MOST_BYTES).splitlines()))
        raise CatalogError(
            f"{path}:{last}: the file ends without the class ModelNew or the function {RUN}",
            "Define class ModelNew(torch.nn.Module) at module level, or run(*inputs) where there are no parameters.",
        )


def bound(node: ast.stmt) -> list[str]:
    """Return the names that a statement at module level binds.

    >>> bound(ast.parse("from softmax import softmax as run").body[0]), bound(ast.parse("run = f").body[0])
    (['run'], ['run'])
    """
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Import(names) | ast.ImportFrom(names=names):
            return [(one.asname or one.name).partition(".")[0] for one in names]
    return [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]


def _require(tree: ast.Module, path: Path, names: Iterable[str]) -> None:
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for name in names:
        if name not in defined:
            last = max(1, len(read_text(path, MOST_BYTES).splitlines()))
            kind = "function" if name.islower() else "class"
            raise CatalogError(
                f"{path}:{last}: the file ends without the {kind} {name}", f"Define {name} at module level."
            )
