"""What of a cubin a GPU executes, as one hash: two kernels with the same one run alike, wherever their lines are.

A cubin also holds debug sections, which name files and lines; moving a kernel to another line changes them and nothing
that runs. The layout is ELF64, little-endian (System V ABI, chapter 4); `sh_info` of a `.text` section holds the
registers a thread in its upper 8 bits (CUDA binary utilities, as `cuobjdump --dump-resource-usage` shows them).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

_HEADER = struct.Struct("<40xQ10xHHH")  # e_shoff, e_shentsize, e_shnum, e_shstrndx
_SECTION = struct.Struct("<II8x8xQQIIQQ")  # sh_name, sh_type, sh_offset, sh_size, sh_link, sh_info, align, entry size
NOBITS = 8  # a section that takes no place in the file
EXECUTED = (".text.", ".nv.constant", ".nv.shared")


def machine_code_sha256(cubin: bytes) -> str:
    """Return the SHA-256 of a cubin's instructions, constants, registers and shared memory; its names do not count.

    Raises:
        ValueError: the bytes are no ELF file, or end early.
    """
    digest = hashlib.sha256()
    for name, registers, size, data in sorted(_sections(cubin)):
        digest.update(f"{name} {registers} {size}\n".encode() + data)
    return digest.hexdigest()


def _sections(cubin: bytes) -> Iterator[tuple[str, int, int, bytes]]:
    """Yield kind, registers, size and bytes of each section that is executed."""
    if cubin[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no cubin: it does not begin as a little-endian ELF64 file")
    try:
        offset, entry, count, names = _HEADER.unpack_from(cubin)
        table = [_SECTION.unpack_from(cubin, offset + entry * place) for place in range(count)]
        texts = table[names][2]
        for name, kind, begin, size, _, info, _, _ in table:
            where = texts + name
            title = cubin[where : cubin.index(b"\0", where)].decode("ascii")
            wanted = next((prefix for prefix in EXECUTED if title.startswith(prefix)), None)
            if wanted is not None:
                data = b"" if kind == NOBITS else cubin[begin : begin + size]
                yield wanted, info >> 24 if wanted == ".text." else 0, size, data
    except (struct.error, IndexError) as error:
        raise ValueError(f"no cubin: it ends early: {error}") from error
