"""The doctor tries what it names, and what is missing comes with the command that installs it."""

import json
import re
import shutil
import sys
import tomllib
import types
from importlib import metadata
from pathlib import Path

import pytest
import torch

from model import weights
from stream import cli, runtime_tensorrt
from stream.doctor import CHECKOUT, CHECKS, Check, MissingError, all_needed, examine, install, reinstall
from stream.runtime import version
from stream.stop import Stop


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def look_for(name: str):
    """The finding of one of the doctor's checks."""
    return examine([check for check in CHECKS if check.name == name])[0]


def broken() -> str:
    raise ImportError("libtorch.so: cannot open shared object file")


def test_this_machine_can_colour_films(capsys: pytest.CaptureFixture[str]) -> None:
    findings = {finding.name: finding for finding in examine()}
    assert all_needed(findings.values())
    assert {"torch", "OpenVINO", "FFmpeg", "encoders", "weights"} <= findings.keys()
    assert torch.__version__ in findings["torch"].detail
    assert re.search(r"FP32.*runs in (bf16|f32)", findings["OpenVINO"].detail)
    assert findings["encoders"].detail == "ffv1, libx264, libx265, prores_ks"
    for finding in findings.values():
        assert finding.name in finding.line() and "\n" not in finding.line()
        assert finding.ok or finding.remedy


def test_the_command_prints_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor"], Stop()) == 0
    assert capsys.readouterr().out.endswith("ready to colourise films\n")
    assert cli.run(["doctor", "--json"], Stop()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ready"] and len(told["findings"]) == len(CHECKS)


def test_a_broken_package_comes_with_the_command_that_repairs_it() -> None:
    (finding,) = examine([Check(name="torch", look=broken, package="torch")])
    assert not finding.ok and finding.line().startswith("MISSING")
    assert "libtorch.so" in finding.detail
    assert finding.remedy.startswith(f"{sys.executable} -m pip install --force-reinstall 'torch")
    assert re.search(r"torch[<>]", finding.remedy)  # a version that we can use
    assert not all_needed([finding])


def test_what_is_optional_may_be_missing() -> None:
    (finding,) = examine([Check(name="TensorRT", look=broken, optional=True)])
    assert finding.line().startswith("optional") and all_needed([finding])


def test_the_extras_that_are_named_exist() -> None:
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "cuda" in extras
    assert install("cuda").endswith(f"{CHECKOUT}[cuda]'")
    assert reinstall("av").endswith("'") and "av<" in reinstall("av")


def test_changed_weights_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for release in weights.releases().values():
        copy = bytearray(release.path.read_bytes())
        copy[-1] ^= 1
        (tmp_path / release.file).write_bytes(copy)
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    finding = look_for("weights")
    assert not finding.ok and "sha256" in finding.detail and "git" in finding.remedy
    assert cli.run(["doctor"], Stop()) == 7
    assert "MISSING" in capsys.readouterr().out


def test_a_cache_that_cannot_be_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")  # refused to root, too
    finding = look_for("engine cache")
    assert not finding.ok and "/proc/none" in finding.detail and "XDG_CACHE_HOME" in finding.remedy


@pytest.mark.skipif(torch.version.cuda is not None, reason="torch is built for CUDA")
def test_a_card_that_torch_cannot_use_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA GeForce RTX 3060, 570.86.15'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = look_for("GPU")
    assert "RTX 3060, driver 570.86.15" in finding.detail and "pip install" in finding.remedy
    tool.write_text("#!/bin/sh\nexit 9\n")  # a card without a driver
    assert "no NVIDIA GPU" in look_for("GPU").detail
    assert shutil.which("nvidia-smi")


def test_a_lack_is_told_with_its_remedy() -> None:
    def look() -> str:
        raise MissingError("none", "buy one")

    (finding,) = examine([Check(name="cameras", look=look, optional=True)])
    assert finding.as_dict() == {
        "name": "cameras",
        "ok": False,
        "optional": True,
        "detail": "none",
        "remedy": "buy one",
    }


def test_a_tensorrt_that_was_only_unpacked_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    flavour = runtime_tensorrt.FLAVOURS[1]
    module = types.ModuleType(flavour.module)
    module.__version__ = "1.4.0.76"
    monkeypatch.setitem(sys.modules, flavour.module, module)
    monkeypatch.setattr(runtime_tensorrt, "find_flavour", lambda: flavour)
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.11.0" if name == flavour.package else version(name))
    finding = look_for("TensorRT")
    assert finding.ok
    assert "tensorrt_rtx 1.4.0.76" in finding.detail


def test_a_tensorrt_without_its_libraries_comes_with_the_command_that_repairs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flavour = runtime_tensorrt.FLAVOURS[1]
    monkeypatch.setitem(sys.modules, flavour.module, None)
    monkeypatch.setattr(runtime_tensorrt, "find_flavour", lambda: flavour)
    finding = look_for("TensorRT")
    assert not finding.ok and "can't be loaded" in finding.detail and "[rtx]" in finding.remedy


def test_a_folder_that_was_never_installed_is_looked_at_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    monkeypatch.setattr(metadata, "requires", unknown)
    (finding,) = examine([Check(name="torch", look=broken, package="torch")])
    assert finding.remedy.endswith("--force-reinstall torch")
    assert not look_for("Kinochrome").ok
    assert version() == "unknown"
