"""A measurement in a process of its own, so that memory, caches and thread settings of one don't reach the next.

python -m benchmarks.trial benchmarks.ceiling.measure '[[], {"runtime": "torch"}]'
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias

import typer

from stream.errors import KinochromeError
from stream.metrics import Meter

P = ParamSpec("P")
Result: TypeAlias = dict[str, Any]
"""What a trial found, ready for JSON."""

_PATIENCE_S = 1800
ROOT = Path(__file__).resolve().parent.parent


class TrialError(RuntimeError):
    """A trial that ended without a result; the message is the reason, in one line."""


def run(function: Callable[P, Result], /, *args: P.args, **kwargs: P.kwargs) -> Result:
    """What the function returns when a fresh process calls it; arguments and result go through JSON."""
    name = f"{function.__module__}.{function.__qualname__}"
    command = (sys.executable, "-m", __name__, name, json.dumps([args, kwargs]))
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"no result after {_PATIENCE_S // 60} minutes") from error
    if done.returncode < 0:
        raise TrialError(f"killed by signal {-done.returncode}" + (", out of memory?" if done.returncode == -9 else ""))
    if done.returncode:
        raise TrialError((done.stderr.strip().splitlines() or ["no reason given"])[-1])
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def peak_rss_mb() -> float:
    """The most memory that this process has held so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


class CpuMeter(Meter):
    """Counts the CPU time of the whole process beside the wall time: for stages that run one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time inside towards the stage."""
        start = time.process_time()
        try:
            with super().stage(name):
                yield
        finally:
            self.cpu_seconds[name] = self.cpu_seconds.get(name, 0.0) + time.process_time() - start


def main() -> None:
    """The fresh process: calls the function named, prints its result as the last line."""
    module, _, name = sys.argv[1].rpartition(".")
    args, kwargs = json.loads(sys.argv[2])
    try:
        result = getattr(import_module(module), name)(*args, **kwargs)
    except KinochromeError as error:
        raise SystemExit(str(error)) from error
    typer.echo(json.dumps(result))


if __name__ == "__main__":
    main()
