"""Kill `rooflift profile`, `compare` and `optimize` at random moments, over and over, and look at what they leave.

`python tests/killing.py COMMAND KILLS SEED` prints one JSON object: what was done and what was wrong. The command line
is rooflift's own; in the place of GPU, target program and ncu are stand-ins that tell a recorded run, figures are a
few bytes, and a candidate is not evaluated. A child is forked for each call, so that nothing is imported twice. Half
of the kills come before a drawn number of changes of the file system, half after a drawn time.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from rooflift import pipeline
from rooflift.cli import main as cli
from rooflift.measure import checkpoint, environment, evaluate, session
from rooflift.runs import find, verify
from rooflift.runs import run as runs
from rooflift.worker import protocol

CHECKOUT = Path(__file__).resolve().parents[1]
H100_RUN = CHECKOUT / "tests" / "fixtures" / "h100_run"
OPERATOR = "depthwise_conv2d"
CHANGES = {"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.truncate", "shutil.rmtree"}
MODES = os.O_WRONLY | os.O_RDWR
TIMES_US = (2300, 1000, 720)  # of the candidates of a loop: slower, kept, kept
CASES = """
[main]
init = { in_channels = 64, kernel_size = 3 }
inputs = [[16, 64, 512, 512]]
dtypes = ["float32"]
use = ["bench"]
"""
# what the target program says of its plan, from a recorded version's events; `# takes 900 us` in a file scales them
TARGET = """
import json, re, sys
from pathlib import Path
told, log = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
plan = json.loads(Path("plan.json").read_text())
for name, file in plan["versions"].items():
    text = Path(file).read_text()
    told["checks"] += [{**check, "record": {**check["record"], "version": name}} for check in told["check"]]
    factor = float((re.findall("# takes ([0-9]+) us", text) or ["2015"])[0]) / told["median_us"]
    twice = plan["options"].get("noise") and file == list(plan["versions"].values())[-1]
    for repeat in range(1 + twice):
        times = [factor * time for time in told["version"]["times_us"]]
        told["times"].append({**told["version"], "provider": name, "repeat": repeat, "times_us": times})
for event in [told["device"], *told["checks"], *told["times"], told["resolved"]]:
    print(json.dumps(event), flush=True)
with log.open("a") as file:
    file.write("times\\n")
"""
NCU = """#!/bin/sh
if [ "$1" = --version ]; then echo "Version 2025.3.1.0 (build 36398880) (public-release)"; exit 0; fi
while [ $# -gt 0 ]; do [ "$1" = --export ] && report=$2; shift; done
echo '==PROF== Profiling "depthwise_conv2d_kernel" - 0: 0%....50%....100% - 9 passes'
cp REPORT "$report"
echo metrics >> LOG
"""


class Stage:
    """A project in a folder, stand-ins for the hardware, and rooflift called in children."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder, self.command = folder, command
        self.project, self.log, self.home = folder / "project", folder / "calls", folder / "tmp"
        kernels = self.project / "kernels" / OPERATOR
        kernels.mkdir(parents=True)
        self.home.mkdir()
        for name in ("reference", "v0_baseline", "v1_grid"):
            shutil.copy(CHECKOUT / "kernels" / OPERATOR / f"{name}.py", kernels)
        (kernels / "cases.toml").write_text(CASES)
        (self.project / ".gitignore").write_text("build/\n")
        if command == "compare":
            git = ["git", "-C", str(self.project), "-c", "user.name=t", "-c", "user.email=t@t"]
            for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "base"]):
                subprocess.run([*git, *words], check=True)
        with (kernels / "v1_grid.py").open("a") as file:
            file.write("# takes 1000 us\n")
        self.replace(folder)

    def replace(self, folder: Path) -> None:
        """Put the stand-ins in their places."""
        run = runs.read_run(H100_RUN)
        manifest, (case,) = run.manifest, run.manifest.cases
        samples = dict(iter(run.samples.groupby("provider", sort=False)))
        told = {
            "device": protocol.Device(
                **{name: getattr(manifest.machine, name) for name in protocol.Device.__struct_fields__}
            ),
            "check": [protocol.Checked(check) for check in manifest.checks if check.version == "v1_grid"],
            "checks": [],
            "resolved": protocol.Resolved(case),
            "version": self.samples("v1_grid", samples["v1_grid"]),
            "times": [self.samples(str(n), own) for n, own in samples.items() if not str(n).startswith("v")],
            "median_us": float(samples["v1_grid"]["time_us"].median()),
        }
        (folder / "told.json").write_bytes(msgspec.json.encode(told))
        (folder / "target.py").write_text(TARGET)
        words = [sys.executable, "-IS", str(folder / "target.py"), str(folder / "told.json"), str(self.log)]
        protocol.worker_command = lambda *_: words  # type: ignore[assignment]
        environment.driver = lambda: environment.Driver("580.1", ["NVIDIA H100 80GB HBM3"])
        report, ncu = H100_RUN / "ncu" / f"{OPERATOR}.ncu-rep", folder / "ncu"
        ncu.write_text(NCU.replace("REPORT", shlex.quote(str(report))).replace("LOG", shlex.quote(str(self.log))))
        ncu.chmod(0o755)
        os.environ |= {"ROOFLIFT_NCU": str(ncu), "TMPDIR": str(self.home)}
        tempfile.tempdir = str(self.home)
        evaluate.evaluate = lambda *_, **__: evaluate.Evaluation([], 1)  # type: ignore[assignment]
        pipeline._get_ready_to_draw = lambda: None
        pipeline.draw = self.draw  # type: ignore[assignment]
        metrics, read = run.metrics[run.metrics["version"] == "v1_grid"], pipeline.read_reports

        def read_reports(paths: Any, folder: Path) -> Any:
            """The recorded metrics under the names of the versions that were asked for."""
            import pandas as pd

            if self.command == "profile":
                return read(paths, folder)
            source = f"ncu/{OPERATOR}.ncu-rep"
            return pd.concat([metrics.assign(version=name, source=source) for name in self.asked], ignore_index=True)

        def measured(request: Any, *words: Any) -> Any:
            self.asked = [version.name for version in request.versions]
            return session.measure(request, *words)

        pipeline.read_reports = read_reports
        pipeline.measure = measured  # type: ignore[assignment]

    @staticmethod
    def samples(name: str, own: Any) -> protocol.Samples:
        return protocol.Samples(name, 0, "main", "float32", own["time_us"].to_list(), own["position"].to_list())

    @staticmethod
    def draw(story: Any, folder: Path, *_: Any, **__: Any) -> list[Path]:
        """Write a few bytes in the place of figures."""
        paths = [folder / f"{name}.svg" for name in ("roofline", "metrics", "stalls")]
        for path in paths:
            path.write_text("<svg/>")
        return paths

    def words(self, number: int) -> list[str]:
        """Return the command line."""
        root = ["--root", str(self.project)]
        if self.command == "profile":
            return ["profile", OPERATOR, *root, "-v", "v0", "-v", "v1"]
        if self.command == "compare":
            return ["compare", "HEAD..", OPERATOR, *root]
        agent = shlex.join(
            [sys.executable, str(CHECKOUT / "tests" / "optimize" / "play.py"), str(self.folder / "list")]
        )
        text = (CHECKOUT / "kernels" / OPERATOR / "v1_grid.py").read_text()
        for time_us in TIMES_US:
            (self.folder / f"{time_us}.txt").write_text(f"{text}# takes {time_us} us\n")
        (self.folder / "list").write_text("".join(f"{time_us}.txt\n" for time_us in TIMES_US))
        places = ["--out", str(self.folder / f"loop-{number}"), "--keep", str(self.folder / f"kept-{number}")]
        return [
            "optimize",
            OPERATOR,
            *root,
            *places,
            "--agent",
            agent,
            "--stages",
            "grid",
            "--iterations",
            "3",
            "--trust",
        ]

    def call(self, number: int, changes: int | None = None, seconds: float | None = None) -> tuple[int, int]:
        """Run the command in a child that is killed at the given moment; return its exit code and its changes."""
        receive, send = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(receive)
            self.child(self.words(number), changes, send)
        os.close(send)
        if seconds is not None:
            time.sleep(seconds)
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        with os.fdopen(receive) as file:
            made = int(file.read() or 0)
        return os.waitstatus_to_exitcode(status), made

    def child(self, words: list[str], changes: int | None, send: int) -> None:
        made = 0

        def hook(event: str, values: tuple[Any, ...]) -> None:
            nonlocal made
            if event in CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & MODES):
                if made == changes:
                    os.kill(os.getpid(), signal.SIGKILL)
                made += 1

        code = 1
        try:
            quiet = os.open(self.folder / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            os.chdir(self.project)
            sys.argv = ["rooflift", *words]
            sys.addaudithook(hook)
            cli.main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:  # noqa: BLE001  # a child never returns into the loop of its parent
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            if changes is None:
                (self.folder / "imported").write_text(" ".join(sys.modules))
            os.write(send, str(made).encode())
            os._exit(code)

    def measured(self) -> list[str]:
        """Return what the stand-ins have finished, and forget it."""
        done = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return done


class Killer:
    """One command, killed over and over."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage, self.draw = stage, random.Random(seed)
        self.kills = self.too_late = self.finished = self.resumed = 0
        self.wrong: list[str] = []

    def store(self) -> list[Path]:
        """Return every run folder that rooflift shows."""
        places = [self.stage.project / "reports", self.stage.project / "build"]
        if self.stage.command == "optimize":
            places = [
                path for top in self.stage.folder.glob("loop-*") for path in (top / "iterations", top / "reports", top)
            ]
        return list(dict.fromkeys(path for place in places for path in find.find_runs(place)))

    def look(self) -> list[Path]:
        """Read every run that is shown; each must be whole."""
        found = self.store()
        for folder in found:
            try:
                run = runs.read_run(folder)
                whole = verify.verify(folder)
                if min(map(len, (run.metrics, run.timings, run.samples))) == 0 or not whole.whole or whole.notes:
                    self.wrong.append(f"{folder.name}: {whole.faults or whole.notes or 'an empty table'}")
            except Exception as error:  # noqa: BLE001  # each is a finding
                self.wrong.append(f"{folder.name}: {error}")
        return found

    def parts(self) -> set[str]:
        """Return the finished parts that a further call has to resume."""
        names = set()
        for start in (self.stage.project / "build" / "unfinished").glob(f"*/parts/{checkpoint.START}"):
            told = start.parent / checkpoint.RUN
            if not told.exists() or not Path(msgspec.msgpack.decode(told.read_bytes()), "run.json").exists():
                names |= {path.stem for path in start.parent.glob("*.part")} & {"times", "metrics"}
        return names

    def outcome(self, folder: Path) -> Any:
        """Return what a run tells, without its name and the moment."""
        run = runs.read_run(folder)
        manifest = msgspec.to_builtins(run.manifest)
        for name in ("name", "created", "notes", "sampling", "sha256", "sha256_self"):
            manifest.pop(name)
        tables = [(folder / name).read_text() for name in ("metrics.csv", "timings.csv")]
        return [manifest, *tables, run.samples.to_csv()]

    def looped(self, number: int) -> Any:
        """Return what a loop came to: journal without its seed and times, kept versions, handed-over files, runs."""
        folder = self.stage.folder / f"loop-{number}"
        journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        journal[0].pop("seed")
        for entry in journal:
            entry.pop("agent_s", None)
        places = (folder / "kernels", self.stage.folder / f"kept-{number}")
        files = [(p.name, p.read_text()) for place in places for p in sorted(place.rglob("[!.]*")) if p.is_file()]
        return [journal, files, [self.outcome(path.parent) for path in sorted(folder.rglob("run.json"))]]

    def moment(self, changes: int, seconds: float) -> dict[str, Any]:
        if self.draw.random() < 0.5:
            return {"changes": self.draw.randrange(changes)}
        return {"seconds": self.draw.uniform(0, seconds)}

    def unkilled(self, number: int, expected: Any, before: list[Path]) -> tuple[Any, int]:
        """Let a call come to its end, and hold what it made against what an unkilled one makes."""
        self.stage.measured()
        ready = self.parts()
        code, changes = self.stage.call(number)
        done = self.stage.measured()
        if code != 0:
            self.wrong.append(f"a further call ended with {code}: {(self.stage.folder / 'said').read_text()[-300:]}")
            return None, changes
        self.resumed += len(ready)
        if self.stage.command != "optimize" and sorted(done) != sorted({"times", "metrics"} - ready):
            self.wrong.append(f"{ready} had been finished, and {done} was measured")
        if self.stage.command == "optimize":
            found = self.looped(number)
        else:
            new = [path for path in self.look() if path not in before]
            found = self.outcome(new[0]) if len(new) == 1 else f"{len(new)} new runs"
        if expected is not None and found != expected:
            self.wrong.append(f"call {number}: not what an unkilled one makes")
        return found, changes

    def run(self, kills: int) -> None:
        """Kill so many calls, a few in a row, and let each row end with a call that comes to its end."""
        self.stage.call(0)
        for name in (self.stage.folder / "imported").read_text().split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)  # here, and so in no child
        self.forget()
        begin = time.perf_counter()
        expected, changes = self.unkilled(0, None, [])
        seconds = time.perf_counter() - begin
        in_a_row = 10
        if self.stage.command == "optimize":  # each call gets some steps on
            in_a_row, changes, seconds = 20, changes // 4, seconds / 4
        number = 0
        while self.kills < kills and len(self.wrong) < 5:
            number += 1
            self.forget()
            for _ in range(self.draw.randint(1, in_a_row)):
                code, _ = self.stage.call(number, **self.moment(changes, seconds))
                self.kills += code == -signal.SIGKILL
                self.too_late += code != -signal.SIGKILL
                self.look()
                if code != -signal.SIGKILL:  # it was done before its moment came
                    break
            self.unkilled(number, expected, self.store())
            self.finished += 1
            self.leftovers()

    def forget(self) -> None:
        """Remove the runs, so that looking at them takes no longer each time."""
        for folder in self.store():
            shutil.rmtree(folder)
        for folder in self.stage.folder.glob("loop-*"):
            shutil.rmtree(folder)
        shutil.rmtree(self.stage.home)
        self.stage.home.mkdir()

    def leftovers(self) -> None:
        """Look for what no further call has removed."""
        left = [path.name for path in (self.stage.project / "reports").rglob(".writing-*")]
        self.wrong += [f"left behind: {name}" for name in [*left, *self.parts()]]


def kill(command: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill a command so often and return what came of it."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rooflift-") as name:
        killer = Killer(Stage(Path(name), command), seed)
        killer.run(kills)
    counts = {name: getattr(killer, name) for name in ("kills", "too_late", "finished", "resumed")}
    return {"command": command, **counts, "seconds": time.perf_counter() - begin, "wrong": killer.wrong}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(kill(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
