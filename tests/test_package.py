"""The wheel, installed where Kinochrome is not, run from an empty folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from benchmarks import clips

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("model", "stream", "train", "samples", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, source / part)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, str(source / "dist"), str(source)], check=True)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel, tmp_path_factory):
    """A fresh environment with this wheel; what it depends on is lent by the running one, the checkout is not."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    # A path in a .pth file is appended as it is: the editable install that lies there is not followed.
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run(clean, folder, *arguments, check=True):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(clean / "bin" / arguments[0]), *arguments[1:]],
        cwd=folder,
        env=environment | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=check,
    )


def test_the_wheel_holds_the_weights_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "model/kinochrome.safetensors" in names
    assert "model/weights.json" in names
    assert any(name.endswith("samples/reel.mkv") for name in names)
    assert not any(name.startswith(("tests/", "benchmarks/", "samples/")) for name in names)


def test_the_installed_program_colourises_a_film(clean, tmp_path):
    where = run(clean, tmp_path, "python", "-c", "import stream; print(stream.__file__)").stdout
    assert str(clean) in where
    film = clips.cut_film(next((clean / "share").rglob("reel.mkv")), tmp_path / "reel.mkv", frames=30)
    done = run(clean, tmp_path, "kinochrome", "colorize", str(film), "-o", "out.mkv", "--short-side", "64", "--json")
    report = json.loads(done.stdout)
    assert report["frames_in"] == report["frames_out"] == 30
    assert (tmp_path / "out.mkv").stat().st_size > 10_000
    checked = run(clean, tmp_path, "kinochrome", "verify", str(film), "out.mkv", "--lossy")
    assert checked.returncode == 0
