"""The folders form a line; one module per heavy dependency; no module is named like one of Python's."""

import ast
import sys
from pathlib import Path

import pytest

import model
import stream
import train

ROOT = Path(__file__).resolve().parent.parent
LINE = ("model", "stream", "train", "benchmarks", "tests")
FILES = [path for folder in LINE[:-1] for path in sorted((ROOT / folder).rglob("*.py"))]
HEAVY = {
    "av": {
        "stream/media.py",
        "stream/container.py",
        "stream/description.py",
        "stream/ffmpeg.py",
        "stream/mux.py",
        "stream/companions.py",
        "stream/segment_writer.py",
        "stream/capture.py",
        "stream/record.py",
        "stream/relay.py",
    },
    "openvino": {"stream/runtime_openvino.py"},
    "scenedetect": {"stream/shots.py"},
    "zmq": {"stream/pubsub.py"},
    "starlette": {"stream/preview.py"},
    "uvicorn": {"stream/preview.py"},
    "torch_tensorrt": {"stream/runtime_tensorrt.py"},
    "ray": {"stream/cluster.py"},
}


def imported(path):
    """Top-level names of every import in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_come_from_the_left(path):
    place = LINE.index(path.relative_to(ROOT).parts[0])
    assert not imported(path) & set(LINE[place + 1 :])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_dependencies_have_one_home(path):
    name = str(path.relative_to(ROOT))
    for dependency, homes in HEAVY.items():
        assert dependency not in imported(path) or name in homes or name.startswith("benchmarks/")


def test_the_model_needs_torch_alone():
    allowed = set(sys.stdlib_module_names) | {"torch", "safetensors", "model"}
    for path in (ROOT / "model").glob("*.py"):
        assert imported(path) <= allowed, path


def test_no_module_is_named_like_one_of_pythons():
    for path in FILES:
        assert path.stem.strip("_") in ("init", "main") or path.stem not in sys.stdlib_module_names, path


def test_what_is_imported_is_this_checkout():
    for package in (model, stream, train):
        assert Path(package.__file__).resolve().parent.parent == ROOT
