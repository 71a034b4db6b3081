"""What `make gpu` does on a machine that nobody has: here a Python that only writes down what it is asked for."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STEPS = ["stream doctor", "benchmarks.gpu", "benchmarks.report", "pytest -m gpu", "stream compile --live"]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.mark.parametrize("failing", ["", "doctor", "benchmarks.gpu", "benchmarks.report", "pytest", "compile"])
def test_every_step_on_a_gpu_is_run_whatever_fails(tmp_path, failing):
    python, log = tmp_path / "python", tmp_path / "log"
    python.write_text(f'#!/bin/sh\necho "$@" >> {log}\ncase "$*" in *"{failing or "nothing"}"*) exit 3;; esac\n')
    python.chmod(0o755)
    done = subprocess.run(
        ["make", "gpu", f"GPU_PYTHON={python}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    asked = log.read_text().splitlines()
    assert len(asked) == len(STEPS)
    assert all(step in line for step, line in zip(STEPS, asked, strict=True))
    assert (done.returncode == 0) == (failing in ("", "doctor"))


def test_all_tests_of_a_gpu_are_named():
    marked = {path.name for path in (ROOT / "tests").glob("test_*.py") if re.search(r"mark\.gpu\b", path.read_text())}
    named = re.search(r"^GPU_TESTS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert marked - {Path(__file__).name} == {Path(word).name for word in named[1].split()}
