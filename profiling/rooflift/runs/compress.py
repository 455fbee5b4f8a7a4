"""The reports of a run folder in gzip: a third to a seventh of their bytes, with the seal renewed. Measures nothing."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rooflift.errors import RunFault
from rooflift.runs import atomic
from rooflift.runs.run import read_run
from rooflift.runs.verify import sealed, verify


@dataclass(frozen=True, slots=True)
class Compressed:
    """What became of a run folder: the bytes of its reports before and after."""

    folder: Path
    before: int
    after: int


def compress_reports(folder: Path) -> Compressed:
    """Put the reports of a run into gzip, `ncu/NAME.ncu-rep.gz`, and seal its run.json anew.

    A second call does nothing. Every file that is kept or renewed is whole at any time. A call that is killed leaves
    a report twice at most, of which `verify` names the one that run.json does not list.

    Raises:
        RunFault: `folder` is no run folder or not whole, or it cannot be written.
    """
    found = verify(folder)
    if not found.whole:
        file, wrong = found.faults[0]
        remedy = "Restore it from version control: what is sealed anew must be what was measured."
        raise RunFault(f"{folder / file}: {wrong}", remedy)
    run = read_run(folder)
    plain = [path for path in run.reports if path.suffix != ".gz"]
    packed = {path: _gzip(path.read_bytes()) for path in plain}
    sums = Compressed(folder, sum(path.stat().st_size for path in plain), sum(map(len, packed.values())))
    if not plain:
        return sums
    names = {path: path.relative_to(folder).as_posix() for path in plain}
    digests = {name: digest for name, digest in run.manifest.sha256.items() if name not in names.values()}
    digests |= {f"{names[path]}.gz": hashlib.sha256(data).hexdigest() for path, data in packed.items()}
    for path, data in packed.items():
        atomic.write_file(path.with_name(f"{path.name}.gz"), data)
    atomic.write_file(folder / "run.json", sealed(msgspec.structs.replace(run.manifest, sha256=digests)))
    for path in plain:
        path.unlink()
    return sums


def _gzip(data: bytes) -> bytes:
    """Return `data` in gzip; the same bytes give the same, whenever and wherever."""
    packer = zlib.compressobj(9, wbits=31)  # 31: with the head of gzip, whose time is 0
    return packer.compress(data) + packer.flush()
