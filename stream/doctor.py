"""What was found on this machine, what is missing, and the command that installs it: `kinochrome doctor`.

Every check tries what it names: encoders are opened, weights are hashed and loaded, the cache is written. It must work
on a broken installation, so each check imports by itself what it looks at.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import import_module, metadata
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
HARDWARE_ENCODERS = ("h264_nvenc", "hevc_nvenc", "h264_vaapi", "h264_qsv", "h264_amf", "h264_v4l2m2m")
CACHE_MB = 200
"""Room for the engines of a few sizes of film; one takes 20 MB."""
RESULTS_MB = 1000
"""Less room than this for results is worth a word: ten minutes of film take about so much."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked for."""

    name: str
    ok: bool
    """It is there and works."""
    optional: bool = False
    """Kinochrome does its work without it."""
    detail: str
    """What exactly was found."""
    remedy: str = ""
    """What to do if it isn't ok: a command, mostly."""

    def line(self) -> str:
        """For people."""
        mark = "ok" if self.ok else "optional" if self.optional else "MISSING"
        return f"{mark:9} {self.name:18} {self.detail}" + (f"; {self.remedy}" if self.remedy else "")

    def as_dict(self) -> dict[str, object]:
        """For `--json`."""
        return asdict(self)


class MissingError(Exception):
    """Raised by a check for what isn't there: what was found, and what to do about it."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy


@dataclass(frozen=True, kw_only=True)
class Check:
    """Looks for one thing; `look` returns what it found or raises MissingError."""

    name: str
    look: Callable[[], str]
    package: str = "kinochrome"
    """What to install again where an import fails."""
    optional: bool = False


def examine(checks: "Iterable[Check] | None" = None) -> list[Finding]:
    """Looks for everything that colouring a film needs, and for what it could use beside that."""
    return [_run(check) for check in (CHECKS if checks is None else checks)]


def all_needed(findings: Iterable[Finding]) -> bool:
    """Whether films can be coloured on this machine."""
    return all(finding.ok or finding.optional for finding in findings)


def _run(check: Check) -> Finding:
    try:
        return Finding(name=check.name, ok=True, optional=check.optional, detail=check.look())
    except MissingError as missing:
        detail, remedy = missing.detail, missing.remedy
    except (ImportError, OSError, RuntimeError) as error:  # OSError and RuntimeError: a library without its parts
        detail, remedy = f"{type(error).__name__}: {error}".splitlines()[0], reinstall(check.package)
    return Finding(name=check.name, ok=False, optional=check.optional, detail=detail, remedy=remedy)


def install(extra: str) -> str:
    """The command that installs one of our extras into this very Python."""
    return _pip("-e", f"{CHECKOUT}[{extra}]") if _is_checkout() else _pip(f"kinochrome[{extra}]")


def reinstall(package: str) -> str:
    """The command that repairs a package, at a version that we can use."""
    if package == "kinochrome":
        return _pip("-e", str(CHECKOUT)) if _is_checkout() else _pip("--force-reinstall", package)
    try:
        rows = metadata.requires("kinochrome") or []
    except metadata.PackageNotFoundError:  # a folder that was never installed
        rows = []
    wanted = next((row for row in rows if re.match(rf"{package}(?![-.\w])", row)), package)
    return _pip("--force-reinstall", wanted.partition(";")[0])


def _pip(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "pip", "install", *arguments])


def _is_checkout() -> bool:
    return (CHECKOUT / "pyproject.toml").is_file()


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _kinochrome() -> str:
    return f"{metadata.version('kinochrome')} in {CHECKOUT}"


def _torch() -> str:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a build for CPUs"
    return f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"


def _openvino() -> str:
    openvino = import_module("openvino")  # only looked at here; stream/runtime_openvino.py uses it
    from stream.runtime_openvino import forms

    core = openvino.Core()
    names = [f"{device} ({core.get_property(device, 'FULL_DEVICE_NAME')})" for device in core.available_devices]
    can = ", ".join(sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
    version = openvino.__version__.split("-")[0]
    return f"{version}, {', '.join(names)}, {can}; runs in {forms(core)[0].precision.to_string()}"


def _ffmpeg() -> str:
    from stream.ffmpeg import ffmpeg_facts

    version, libraries = ffmpeg_facts()
    parts = (f"{name} {libraries[name]}" for name in ("libavcodec", "libavformat", "libavfilter"))
    return f"{version} in PyAV {metadata.version('av')} ({', '.join(parts)})"


def _encoders() -> str:
    from stream.ffmpeg import encoder_opens
    from stream.plan import CODECS, NVENC

    offered = sorted(set(CODECS.values()) - NVENC)
    dead = [name for name in offered if not encoder_opens(name)]
    if dead:
        raise MissingError(f"{', '.join(dead)} can't be opened in this build of FFmpeg", reinstall("av"))
    return ", ".join(offered)


def _hardware_encoders() -> str:
    from stream.ffmpeg import encoder_opens

    alive = [name for name in HARDWARE_ENCODERS if encoder_opens(name)]
    if not alive:
        raise MissingError(f"none of {', '.join(HARDWARE_ENCODERS)} opens", "the CPU encodes")
    return f"{', '.join(alive)}; -c h264_nvenc and hevc_nvenc take theirs, the CPU encodes otherwise"


def _gpu() -> str:
    import torch

    cards = _nvidia_cards()
    with warnings.catch_warnings(record=True) as said:  # a driver that is too old only warns
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        capability = "".join(map(str, torch.cuda.get_device_capability()))
        return f"{cards or torch.cuda.get_device_name()}, sm_{capability}; films are coloured on it"
    if not cards:
        raise MissingError("no NVIDIA GPU with a driver", "the CPU does the work")
    if torch.version.cuda is None:
        raise MissingError(f"{cards}, but torch is built for CPUs", reinstall("torch"))
    reason = f" ({said[0].message})" if said else ""
    raise MissingError(f"{cards}, but torch can't use it{reason}", "a newer driver: https://www.nvidia.com/drivers")


def _nvidia_cards() -> str:
    """Name and driver of each card, as nvidia-smi tells; empty without it."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ""
    return "; ".join(line.replace(",", ", driver") for line in told.strip().splitlines())


def _tensorrt() -> str:
    import torch

    from stream.errors import EngineError
    from stream.runtime_tensorrt import find_flavour, load_builder, load_runner

    flavour = find_flavour()
    if flavour is None:
        raise MissingError("not installed (for NVIDIA GPUs; torch runs on them without it)", install("cuda"))
    try:
        runner = load_runner(flavour)
        if torch.cuda.is_available():  # without a GPU it can't even be imported
            load_builder(flavour)  # a build for another torch fails only here
    except EngineError as error:
        raise MissingError(f"{flavour.label} can't be loaded: {error.__cause__}", install(flavour.extra)) from error
    builder = f"{flavour.package} {metadata.version(flavour.package)}"
    # The module's own word: on machines where it was only unpacked there is no metadata.
    return f"{flavour.label}: {builder}, {flavour.module} {runner.__version__}"


def _cameras() -> str:
    devices = sorted(Path("/dev").glob("video[0-9]*"))
    if not devices:
        raise MissingError("none at /dev/video*", "plug one in; in a container: docker run --device /dev/video0")
    locked = [str(device) for device in devices if not os.access(device, os.R_OK | os.W_OK)]
    if locked:
        raise MissingError(f"no permission for {', '.join(locked)}", "sudo usermod -aG video $USER, then log in again")
    names = (Path("/sys/class/video4linux") / device.name / "name" for device in devices)
    told = [name.read_text().strip() if name.is_file() else "?" for name in names]
    return ", ".join(f"{device} ({name})" for device, name in zip(devices, told, strict=True))


def _weights() -> str:
    from model import weights

    table = weights.releases()
    try:
        for release in table.values():
            weights.load(release)
    except weights.WeightsError as error:
        files = [f"model/{release.file}" for release in table.values()]
        restore = shlex.join(["git", "-C", str(CHECKOUT), "restore", *files])
        raise MissingError(str(error), restore if _is_checkout() else reinstall("kinochrome")) from error
    return ", ".join(f"{release.name} {release.version}, sha256 {release.sha256[:12]}" for release in table.values())


def _cache() -> str:
    from stream.cache import cache_folder
    from stream.errors import EngineError

    remedy = "export XDG_CACHE_HOME=/a/folder/with/room"
    try:
        folder = cache_folder()
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
        free = _free_mb(folder)
    except EngineError as error:
        raise MissingError(str(error), remedy) from error
    except OSError as error:
        raise MissingError(f"{error.filename} can't be written ({error.strerror})", remedy) from error
    if free < CACHE_MB:
        raise MissingError(f"{folder} has {free} MB free; {CACHE_MB} are needed for engines", remedy)
    return f"{folder} is writable, {free:,} MB free"


def _disk() -> str:
    folder = Path.cwd()
    free = _free_mb(folder)
    if free < RESULTS_MB:
        raise MissingError(f"{folder} has {free} MB free for results", "-o names a place with more")
    return f"{folder} has {free:,} MB free for results"


def _free_mb(folder: Path) -> int:
    return shutil.disk_usage(folder).free // 10**6


CHECKS = (
    Check(name="Kinochrome", look=_kinochrome),
    Check(name="Python", look=_python),
    Check(name="torch", look=_torch, package="torch"),
    Check(name="OpenVINO", look=_openvino, package="openvino"),
    Check(name="FFmpeg", look=_ffmpeg, package="av"),
    Check(name="encoders", look=_encoders, package="av"),
    Check(name="weights", look=_weights),
    Check(name="engine cache", look=_cache),
    Check(name="disk", look=_disk, optional=True),
    Check(name="GPU", look=_gpu, package="torch", optional=True),
    Check(name="TensorRT", look=_tensorrt, package="torch-tensorrt", optional=True),
    Check(name="hardware encoders", look=_hardware_encoders, package="av", optional=True),
    Check(name="cameras", look=_cameras, optional=True),
)
