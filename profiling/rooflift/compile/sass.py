"""What a binary holds: registers, stack, SASS by opcode and group, and by source line; compiles nothing."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from rooflift.errors import EnvironmentFault
from rooflift.process import capture

# The first group whose pattern is the opcode, or the opcode up to one of its modifiers, takes an instruction.
SASS_GROUPS = {
    "global load": r"LDG|LD|LDGSTS|UTMALDG|UBLKCP",
    "global store": r"STG|ST|UTMASTG",
    "shared": r"LDS|STS|LDSM|STSM|ATOMS",
    "local": r"LDL|STL",
    "atomic": r"ATOM|ATOMG|RED|REDG|UTMAREDG",
    "constant": r"U?LDC|LDCU",
    "tensor": r"(H|I|D|B|Q|O)G?MMA|UTC\w*MMA",
    "tensor memory": r"LDTM|STTM|UTCCP",
    "fp32": r"FADD2?|FMUL2?|FFMA2?|FFMA32I|FMNMX3?|FSETP?|FSEL|FCHK|FSWZADD",
    "fp16": r"H(ADD|MUL|FMA|SET|SETP|MNMX)2",
    "fp64": r"D(ADD|MUL|FMA|SETP|MNMX)",
    "special function": r"MUFU",
    "conversion": r"[IF]2[IF]P?|F2FP|FRND",
    "move": r"U?MOV|IMAD\.MOV|CS2R|S2U?R|R2UR|R2P|P2R|MOVM",
    "integer": r"U?I(MAD|ADD3?|ABS|MNMX3?|SETP|DP)|U?LEA|U?LOP3|U?P?LOP3|U?SHF|U?SEL|U?PRMT|U?SGXT|U?BMSK|U?FLO|U?POPC"
    r"|U?BREV|VI\w+|VABSDIFF4?",
    "exchange": r"SHFL|VOTEU?|MATCH|U?REDUX",
    "control": r"BRA|BRX|JMP|CALL|RET|EXIT|BSSY|BSYNC|BREAK|BAR|B2R|WARPSYNC|NANOSLEEP|YIELD|MEMBAR|ERRBAR|FENCE|SYNCS"
    r"|DEPBAR|LDGDEPBAR|ARRIVES|CCTL\w*|WARPGROUP|ACQBULK|ELECT|BPT|KILL|CGAERRBAR|UTCBAR|UTCATOMSWS|UVIRTCOUNT",
}
_SASS_GROUPS = [(group, re.compile(rf"(?:{opcodes})(?![^.])")) for group, opcodes in SASS_GROUPS.items()]
_SASS_LINE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*(?:\.\w+)*)", re.MULTILINE)
_SOURCE_LINE = re.compile(r'\s*//## File "(.*?)", line (\d+)')
_LISTED = re.compile(r"\s+/\*([0-9a-f]{4,})\*/\s+(\S.*?)\s*;")
Instruction = tuple[str, int, int, str]  # file, line, offset, SASS
_RESOURCES = re.compile(r"\bREG:(\d+)\s+STACK:(\d+)\b")


def cuobjdump_command(cuobjdump: str, cubin: Path) -> list[str]:
    """Return the command that prints a binary's resource usage and SASS, one run for both."""
    return [cuobjdump, "-res-usage", "-sass", str(cubin)]


def parse_resources(text: str) -> tuple[int, int]:
    """Return registers and stack bytes per thread: the most that any function of the dump takes.

    Raises EnvironmentFault for a text without a resource line.
    """
    found = [(int(registers), int(stack)) for registers, stack in _RESOURCES.findall(text)]
    if not found:
        raise EnvironmentFault(
            f"cuobjdump printed no resource usage: {text.strip()[:200]!r}", "Use the cuobjdump of triton's wheel."
        )
    return max(registers for registers, _ in found), max(stack for _, stack in found)


def parse_opcodes(text: str) -> dict[str, int]:
    """Count the SASS instructions of a dump by opcode with modifiers, most frequent first, NOP (padding) left out."""
    counts = Counter(opcode for opcode in _SASS_LINE.findall(text) if opcode != "NOP")
    return dict(counts.most_common())


def parse_listing(text: str) -> list[Instruction]:
    """Return file (base name), line, offset and SASS of each instruction that nvdisasm printed with line information.

    Of a line in a helper that was inlined the helper's own comes first, and counts; "" and 0 without a line. NOP, which
    fills the end, is left out.
    """
    found: list[Instruction] = []
    place, told = ("", 0), False
    for line in text.splitlines():
        if source := _SOURCE_LINE.match(line):
            place = place if told else (Path(source[1]).name, int(source[2]))
            told = True
        elif instruction := _LISTED.match(line):
            told = False
            if instruction[2].split()[0] != "NOP":
                found.append((*place, int(instruction[1], 16), " ".join(instruction[2].split())))
    return found


def sass_mix(opcodes: Mapping[str, int]) -> dict[str, int]:
    """Sum opcode counts into the groups of SASS_GROUPS and "other"; a group without instructions is absent."""
    mix: Counter[str] = Counter()
    for opcode, count in opcodes.items():
        mix[next((group for group, pattern in _SASS_GROUPS if pattern.match(opcode)), "other")] += count
    return dict(mix.most_common())


def nvdisasm_command(nvdisasm: str, cubin: Path) -> list[str]:
    """Return the command that prints a binary's SASS with source lines."""
    return [nvdisasm, "--print-line-info", "--print-code", str(cubin)]


def disassemble(cubin: bytes) -> str:
    """Return cuobjdump's text for a binary. Raises EnvironmentFault when cuobjdump is missing or fails."""
    return _printed("cuobjdump", cuobjdump_command, cubin)


def listing(cubin: bytes) -> list[Instruction]:
    """Return `parse_listing` of a binary. Raises EnvironmentFault when nvdisasm is missing or fails."""
    return parse_listing(_printed("nvdisasm", nvdisasm_command, cubin))


def _printed(tool: str, command: Callable[[str, Path], list[str]], cubin: bytes) -> str:
    import triton

    try:
        path = str(getattr(triton.knobs.nvidia, tool).path)  # from triton's wheel, or TRITON_CUOBJDUMP_PATH
    except (AttributeError, RuntimeError) as error:
        raise EnvironmentFault(f"triton has no {tool}: {error}", f"Set TRITON_{tool.upper()}_PATH to one.") from error
    with tempfile.TemporaryDirectory(prefix="rooflift-") as folder:
        binary = Path(folder, "kernel.cubin")
        binary.write_bytes(cubin)
        done = capture(command(path, binary))
    if done.returncode:
        said = "\n".join(done.output.strip().splitlines()[-12:])
        raise EnvironmentFault(f"{path} failed: {said}", f"Set TRITON_{tool.upper()}_PATH to a newer one.")
    return done.output
