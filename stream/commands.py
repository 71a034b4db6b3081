"""The commands, their options and what they print: results on stdout, progress on stderr.

Everything heavy is imported by the command that needs it, so that `kinochrome --help` answers at once.
"""

import os
from dataclasses import dataclass, field
from importlib import metadata
from json import dumps
from pathlib import Path
from typing import Annotated, Literal, Protocol, Self, TypeVar, cast

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperGroup

from stream.config import RuntimeName, Settings
from stream.defaults import Default, read_defaults
from stream.errors import EXIT_DAMAGED, EXIT_DONE, EngineError, UsageError
from stream.stop import Stop

T = TypeVar("T")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Colourises black-and-white films: luma untouched, every frame, timestamp and sound track kept.",
    epilog="Exit codes: 0 done, 2 usage, 3 input, 4 output, 5 finished with damage or loss, 6 memory or disk, "
    "7 engine, 130 interrupted, 143 terminated. Options that are wanted every time go into kinochrome.toml "
    "(\\[colorize] steady = 0.9) or the environment (KINOCHROME_COLORIZE_STEADY=0.9).",
)

In = Annotated[str | None, typer.Argument(metavar="IN", show_default=False, help="The film or picture.")]
InOption = Annotated[
    str | None, typer.Option("-i", "--input", metavar="IN", show_default=False, help="The same as IN.")
]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="OUT", show_default=False, help="The result.")]
LumaOption = Annotated[
    Literal["bt601", "bt709"] | None, typer.Option("--luma", help="How Y' is made of an RGB source in colour.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]


@dataclass(kw_only=True)
class _Setup:
    """What the commands share."""

    stop: Stop
    """Whether a signal came."""
    defaults: dict[str, dict[str, Default]] = field(default_factory=dict)
    """From the environment and kinochrome.toml."""


def run(arguments: list[str], stop: Stop) -> int:
    """The exit code of a command."""
    setup = _Setup(stop=stop)
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments or ["--help"], prog_name="kinochrome", standalone_mode=False, obj=setup)
    except typer.TyperException as error:
        raise UsageError(_explain(error, setup)) from error
    return code or EXIT_DONE


def _explain(error: typer.TyperException, setup: _Setup) -> str:
    """Typer's message in one line, with what a wrong value is from, and where to read on."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None:
        return message
    if parameter is not None and getattr(context.get_parameter_source(parameter.name), "name", "") == "DEFAULT_MAP":
        message = f"{setup.defaults[context.info_name][parameter.name].origin}: {message}"
    return f"{message}; {context.command_path} --help tells more"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kinochrome {metadata.version('kinochrome')}")
        raise typer.Exit


@app.callback()
def prepare(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Reads what the environment and kinochrome.toml say, before a command reads its flags."""
    commands = cast(dict[str, TyperCommand], cast(TyperGroup, context.command).commands)
    options = {name: _long_options(command) for name, command in commands.items()}
    defaults = read_defaults(Path.cwd(), os.environ, options)
    context.obj.defaults = defaults
    context.default_map = {
        command: {name: default.value for name, default in table.items()} for command, table in defaults.items()
    }


def _long_options(command: TyperCommand) -> dict[str, str]:
    """Names without dashes of what may be set once and for all, and the parameter behind each."""
    names = {name: str(option.name) for option in command.params for name in option.opts if name.startswith("--")}
    return {name[2:]: option for name, option in names.items() if name not in ("--help", "--input")}


@app.command()
def colorize(
    context: typer.Context,
    source: In = None,
    source_option: InOption = None,
    out: Out = None,
    codec: Annotated[
        str | None, typer.Option("-c", "--codec", help="libx264, libx265 or ffv1 (lossless: luma bit for bit).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("-y", "--overwrite", help="Replace OUT if it exists.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse an output that can't hold everything.")] = False,
    luma: LumaOption = None,
    deinterlace: Annotated[bool, typer.Option("--deinterlace", help="Make whole pictures of fields.")] = False,
    runtime: Annotated[RuntimeName, typer.Option(help="What runs the network.")] = Settings.runtime,
    short_side: Annotated[
        int, typer.Option(help="Working size: short side in pixels, 32 to 512.")
    ] = Settings.short_side,
    steady: Annotated[float, typer.Option(help="Temporal smoothing, 0 (off) to 1.")] = Settings.steady,
    saturation: Annotated[float, typer.Option(help="Factor on the colours, 0 to 2.")] = Settings.saturation,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0 takes all cores.")] = Settings.threads,
    json: Json = False,
    no_progress: NoProgress = False,
) -> int:
    """Colourises a film or a picture."""
    source, out = _one_input(source, source_option), _needed(out, "-o OUT")
    try:
        settings = Settings(
            runtime=runtime, short_side=short_side, steady=steady, saturation=saturation, threads=threads
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    from stream.colorize import Job
    from stream.colorize import colorize as colour

    context.obj.stop.check()
    job = Job(codec=codec, overwrite=overwrite, strict=strict, luma=luma, deinterlace=deinterlace)
    with _Bar(Path(source).name, context.obj.stop, hidden=no_progress) as bar:
        report = colour(source, out, settings=settings, job=job, progress=bar.update)
    _show(report, json)
    return report.exit_code


@app.command()
def verify(
    context: typer.Context,
    original: Annotated[Path, typer.Argument(help="The film or picture that was colourised.")],
    coloured: Annotated[Path, typer.Argument(help="The result.")],
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Accept a luma that a lossy codec changed; say by how much.")
    ] = False,
    luma: LumaOption = None,
    json: Json = False,
) -> int:
    """Proves what was kept: luma bit for bit, frame count, timestamps, other streams, tags."""
    from stream.verify import verify as compare

    context.obj.stop.check()
    comparison = compare(original, coloured, lossy=lossy, luma=luma)
    _show(comparison, json)
    return EXIT_DONE if comparison.ok else EXIT_DAMAGED


@app.command()
def looks(json: Json = False) -> int:
    """Lists the looks this release can give."""
    from model import weights

    rows = [
        {"name": release.name, "weights": release.file, "version": release.version, "licence": release.licence}
        for release in weights.releases().values()
    ]
    if json:
        _print(dumps({"looks": rows}))
    else:
        for row in rows:
            _print(f"{row['name']}: natural colour, weights {row['version']} ({row['licence']})")
    return EXIT_DONE


@app.command()
def doctor(json: Json = False) -> int:
    """Says what was found on this machine, what is missing, and the command that installs it."""
    from stream.doctor import all_needed, examine

    findings = examine()
    ready = all_needed(findings)
    if json:
        _print(dumps({"ready": ready, "findings": [finding.as_dict() for finding in findings]}))
    else:
        for finding in findings:
            _print(finding.line())
        _print("ready to colourise films" if ready else "not ready: see MISSING above")
    return EXIT_DONE if ready else EngineError.exit_code


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for the results.")] = Path("demo"),
    json: Json = False,
    no_progress: NoProgress = False,
) -> int:
    """Colourises the sample film, measures it against its true colours, and draws before, after and truth."""
    from stream.demo import run_demo

    context.obj.stop.check()
    with _Bar("sample film", context.obj.stop, hidden=no_progress) as bar:
        result = run_demo(out, progress=bar.update)
    _show(result, json)
    return result.exit_code


def _one_input(argument: str | None, option: str | None) -> str:
    if argument is not None and option is not None:
        raise UsageError(f"two inputs, {argument} and -i {option}; give one")
    return _needed(argument or option, "IN")


def _needed(value: T | None, name: str) -> T:
    if value is None:
        raise UsageError(f"{name} is missing; kinochrome colorize IN -o OUT")
    return value


class _Result(Protocol):
    """What a command has to tell."""

    def lines(self) -> list[str]:
        """For people."""

    def as_dict(self) -> dict[str, object]:
        """For programs."""


def _show(result: _Result, json: bool) -> None:
    for line in [dumps(result.as_dict())] if json else result.lines():
        _print(line)


def _print(line: str) -> None:
    # File names may hold bytes that are no UTF-8; stdout would refuse them.
    typer.echo(line.encode(errors="backslashreplace").decode())


class _Bar:
    """Progress with ETA on stderr, where that is a terminal."""

    def __init__(self, name: str, stop: Stop, *, hidden: bool) -> None:
        console = Console(stderr=True)
        columns = (TextColumn(escape(name)), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=hidden or not console.is_terminal, transient=True)
        self._task = self._progress.add_task("", total=None)
        self._stop = stop

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, done: int, expected: int | None) -> None:
        """Frames done, of how many."""
        self._progress.update(self._task, completed=done, total=expected)
        self._stop.defer()
        self._stop.check()
