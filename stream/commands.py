"""The commands, their options and what they print: results on stdout, progress on stderr.

Everything heavy is imported by the command that needs it, so that `kinochrome --help` answers at once.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import metadata
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, Self, TypeVar, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperGroup

from stream.config import STYLE_SIDE, RuntimeName, Settings
from stream.defaults import Default, read_defaults
from stream.errors import EXIT_DAMAGED, EXIT_DONE, EngineError, UsageError
from stream.keys import Security
from stream.stop import Stop

if TYPE_CHECKING:  # NumPy behind it would delay every command
    from stream.archive import Cluster
    from stream.frame import Frame

T = TypeVar("T")

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Colourises black-and-white films (luma untouched, every frame, timestamp and sound track kept) and paints "
    "films in the style of a picture.",
    epilog="Exit codes: 0 done, 2 usage, 3 input, 4 output, 5 finished with damage or loss, 6 memory or disk, "
    "7 engine, 130 interrupted, 143 terminated. Options that are wanted every time go into kinochrome.toml "
    "(\\[colorize] steady = 0.9) or the environment (KINOCHROME_COLORIZE_STEADY=0.9).",
)

In = Annotated[str | None, typer.Argument(metavar="IN", show_default=False, help="The film or picture.")]
InOption = Annotated[
    str | None, typer.Option("-i", "--input", metavar="IN", show_default=False, help="The same as IN.")
]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", metavar="OUT", show_default=False, help="The result; else NAME-colour, beside IN."),
]
LumaOption = Annotated[
    Literal["bt601", "bt709"] | None, typer.Option("--luma", help="How Y' is made of an RGB source in colour.")
]
Codec = Annotated[
    str | None,
    typer.Option(
        "-c", "--codec", help="libx264, libx265, ffv1 (lossless: luma bit for bit), h264_nvenc or hevc_nvenc."
    ),
]
Overwrite = Annotated[bool, typer.Option("-y", "--overwrite", help="Replace OUT if it exists.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse an output that can't hold everything.")]
Nvdec = Annotated[bool, typer.Option("--nvdec", help="Have an NVIDIA card decode the film.")]
Deinterlace = Annotated[bool, typer.Option("--deinterlace", help="Make whole pictures of fields.")]
Rate = Annotated[
    str | None,
    typer.Option("--rate", metavar="FPS", help="Frames a second of numbered pictures: 24, 23.976, 30000/1001."),
]
RuntimeOption = Annotated[RuntimeName, typer.Option("--runtime", help="What runs the network.")]
Steady = Annotated[float, typer.Option("--steady", help="Temporal smoothing, 0 (off) to 1.")]
Saturation = Annotated[float, typer.Option("--saturation", help="Factor on the colours, 0 to 2.")]
Strength = Annotated[float, typer.Option("--strength", help="How much of the style, 0 to 1.")]
Detail = Annotated[
    float, typer.Option("--detail", help="Share of the source's fine detail that a painted picture keeps, 0 to 1.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over, and forget what an interrupted run left.")]
Mixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Let different engines, processors or GPU batches work on one film.")
]
ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="WHERE", help="Work on a Ray cluster: local, auto, or its ADDRESS (HOST:PORT)."),
]
Threads = Annotated[int, typer.Option("--threads", help="CPU threads of the network; 0 takes all cores.")]
PublishOption = Annotated[
    str | None,
    typer.Option(
        "--publish",
        metavar="ENDPOINT",
        help="ZeroMQ: NAME, ipc:///PATH, tcp://HOST:PORT; push+ waits for its consumer.",
    ),
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Let anybody on the network connect.")]
KeysOption = Annotated[
    Path | None, typer.Option("--keys", metavar="FILE", help="Our secret CURVE key, NAME.key_secret.")
]
AllowOption = Annotated[
    Path | None, typer.Option("--allow", metavar="FOLDER", help="Public keys of those who may connect.")
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


@app.command("colorize", help="Colourises a film or a picture, with --style in the style of a picture.")
@app.command("stylize", help="Paints a film or a picture in the style of a picture, over the colours that it has.")
def make(
    context: typer.Context,
    source: In = None,
    source_option: InOption = None,
    out: Out = None,
    style: Annotated[
        str | None, typer.Option("--style", help="A look (kinochrome looks), or a picture to paint like.")
    ] = None,
    strength: Strength = Settings.strength,
    detail: Detail = Settings.detail,
    codec: Codec = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
    luma: LumaOption = None,
    deinterlace: Deinterlace = False,
    nvdec: Nvdec = False,
    rate: Rate = None,
    runtime: RuntimeOption = Settings.runtime,
    short_side: Annotated[
        int | None,
        typer.Option(help=f"Working size: short side, 32 to 512 pixels; {Settings.short_side}, styles {STYLE_SIDE}."),
    ] = None,
    steady: Steady = Settings.steady,
    saturation: Saturation = Settings.saturation,
    shots: Annotated[
        Path | None, typer.Option("--shots", metavar="FILE", help="What to do with each shot (kinochrome shots).")
    ] = None,
    threads: Threads = Settings.threads,
    fresh: Fresh = False,
    allow_mixed: Mixed = False,
    cluster: ClusterOption = None,
    publish: PublishOption = None,
    keys: KeysOption = None,
    allow: AllowOption = None,
    insecure: InsecureOption = False,
    json: Json = False,
    no_progress: NoProgress = False,
) -> int:
    """The report's exit code. The two differ in what a style is laid over: predicted colours, or the source's own."""
    command = str(context.info_name)
    painting = command == "stylize"
    if style is None and not painting:
        _refuse_alone(context, ("strength", "detail"), "--style LOOK|PICTURE")
    settings = check_settings(
        style=_needed(style, "--style LOOK|PICTURE", command) if painting else style,
        strength=strength,
        detail=detail,
        source_colours=painting,
        runtime=runtime,
        short_side=(STYLE_SIDE if style else Settings.short_side) if short_side is None else short_side,
        steady=steady,
        saturation=saturation,
        threads=threads,
    )
    source = _one_input(source, source_option, command)
    if cluster is not None and publish is not None:
        raise UsageError("--publish shows frames as they are made; on a --cluster they are made in no order")
    from stream.colorize import NO_CLUSTER, Job, colorize, default_target
    from stream.shotlist import read_shots

    if cluster is not None and shots is not None:
        raise UsageError(NO_CLUSTER)
    listed = None if shots is None else read_shots(shots)
    target, notice = default_target(source) if out is None else (out, "")
    context.obj.stop.check()
    security = Security(own=keys, peers=allow, insecure=insecure)
    with (
        _publishing(publish, security, settings.style or "natural", context.obj.stop) as see,
        working_on(cluster, runtime) as workers,
        Bar(Path(source).name, context.obj.stop, hidden=no_progress) as bar,
    ):
        job = Job(
            codec=codec,
            overwrite=overwrite,
            strict=strict,
            luma=luma,
            rate=as_rate(rate),
            deinterlace=deinterlace,
            nvdec=nvdec,
            fresh=fresh,
            mixed=allow_mixed,
            cluster=workers,
        )
        report = colorize(
            source, target, settings=settings, job=job, shots=listed, progress=bar.update, see=see, tell=bar.tell
        )
    if notice:
        report.notices.insert(0, notice)
    show(report, json)
    return report.exit_code


def check_settings(**options: object) -> Settings:
    """Settings of what was given; what is out of range is a mistake in usage."""
    try:
        return Settings(**options)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error)) from error


def as_rate(text: str | None) -> Fraction | None:
    """Frames a second as they are written: a whole number, a decimal (23.976 is 24000/1001) or a fraction."""
    if text is None:
        return None
    try:
        given = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"--rate {text}: is no number; 24, 23.976 and 30000/1001 are understood") from error
    if not 1 <= given <= 1000:
        raise UsageError(f"--rate {text}: 1 to 1000 frames a second are allowed")
    slowed = Fraction(round(given * Fraction(1001, 1000)) * 1000, 1001)
    return slowed if given.denominator != 1 and abs(given - slowed) < Fraction(1, 1000) else given


@app.command()
def verify(
    context: typer.Context,
    original: Annotated[Path, typer.Argument(help="The film or picture that was colourised, or its .framemd5.")],
    coloured: Annotated[Path, typer.Argument(help="The result.")],
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Accept a luma that a lossy codec changed; say by how much.")
    ] = False,
    luma: LumaOption = None,
    rate: Rate = None,
    json: Json = False,
) -> int:
    """Proves what was kept: luma bit for bit, frame count, timestamps, other streams, tags."""
    from stream.verify import verify as compare

    context.obj.stop.check()
    comparison = compare(original, coloured, lossy=lossy, luma=luma, rate=as_rate(rate))
    show(comparison, json)
    return EXIT_DONE if comparison.ok else EXIT_DAMAGED


@app.command()
def looks(
    context: typer.Context,
    json: Json = False,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="OUT", help="Draw all of them on one frame, as a PNG.")
    ] = None,
    frame: Annotated[
        Path | None, typer.Option("--on", metavar="IN", help="The film or picture for the sheet; else the sample.")
    ] = None,
    overwrite: Overwrite = False,
) -> int:
    """Lists the looks this release can give, or draws them."""
    from stream.looks import named_looks
    from stream.runtime import find_release

    if sheet is None:
        _refuse_alone(context, ("frame", "overwrite"), "--sheet OUT")
    release = find_release(Settings.weights)
    found = named_looks(release)
    rows = [{"name": "natural", "title": "natural colour, luma untouched"}]
    rows += [{"name": look.name, "title": f"after {look.title}"} for look in found]
    if sheet is not None:
        from stream.gallery import draw_looks

        draw_looks(release, sheet, frame, overwrite=overwrite)
    if json:
        about = {"weights": release.file, "version": release.version, "licence": release.licence}
        _print(dumps({"looks": rows, **about, "sheet": str(sheet) if sheet else None}))
    else:
        for row in rows:
            _print(f"{row['name']}: {row['title']}")
        _print(
            f"weights {release.name} {release.version} ({release.licence}); or give any picture: --style picture.jpg"
        )
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
    with Bar("sample film", context.obj.stop, hidden=no_progress) as bar:
        result = run_demo(out, progress=bar.update)
    show(result, json)
    return result.exit_code


@contextmanager
def _publishing(
    endpoint: str | None, security: Security, look: str, stop: Stop
) -> Iterator["Callable[[Frame], None] | None"]:
    """What hands the frames of a film to whoever subscribes; None where nobody was asked for."""
    if endpoint is None:
        yield None
        return
    from stream.endpoint import resolve
    from stream.publish import Announcer

    where = resolve(endpoint, trusted=security.trusted)
    with Announcer(where, check=stop.check, security=security, look=look) as announcer:
        yield announcer.see


@contextmanager
def working_on(where: str | None, runtime: RuntimeName) -> Iterator["Cluster | None"]:
    """The cluster that --cluster names; None without it. runtime: "openvino" leaves its GPUs alone."""
    if where is None:
        yield None
        return
    try:
        from stream.cluster import open_cluster
    except ImportError as error:
        raise UsageError("--cluster needs Ray; install it with: pip install 'kinochrome[cluster]'") from error
    with open_cluster(where, gpus=runtime != "openvino") as cluster:
        yield cluster


def _one_input(argument: str | None, option: str | None, command: str) -> str:
    if argument is not None and option is not None:
        raise UsageError(f"two inputs, {argument} and -i {option}; give one")
    return _needed(argument or option, "IN", command)


def _refuse_alone(context: typer.Context, names: tuple[str, ...], companion: str) -> None:
    """Flags that mean nothing without another one; in kinochrome.toml they may wait for it."""
    for parameter in context.command.params:
        given = getattr(context.get_parameter_source(str(parameter.name)), "name", "")
        if parameter.name in names and given == "COMMANDLINE":
            raise UsageError(f"{parameter.opts[0]} means nothing without {companion}")


def _needed(value: T | None, name: str, command: str) -> T:
    if value is None:
        style = " --style LOOK|PICTURE" if command == "stylize" else ""
        raise UsageError(f"{name} is missing; kinochrome {command} IN{style} -o OUT")
    return value


class _Result(Protocol):
    """What a command has to tell."""

    def lines(self) -> list[str]:
        """For people."""

    def as_dict(self) -> dict[str, object]:
        """For programs."""


def show(result: _Result, json: bool) -> None:
    """Prints what a command has to tell, as lines or as one JSON object."""
    for line in [dumps(result.as_dict())] if json else result.lines():
        _print(line)


def _print(line: str) -> None:
    # File names may hold bytes that are no UTF-8; stdout would refuse them.
    typer.echo(line.encode(errors="backslashreplace").decode())


class Bar:
    """Progress with ETA on stderr, where that is a terminal."""

    _amount: type[ProgressColumn] = MofNCompleteColumn
    """How what is done is shown."""

    def __init__(self, name: str, stop: Stop, *, hidden: bool) -> None:
        console = Console(stderr=True)
        text = TextColumn("{task.description}", markup=False)
        columns = (text, BarColumn(), self._amount(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=hidden or not console.is_terminal, transient=True)
        self._task = self._progress.add_task(name, total=None)
        self._stop = stop

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def tell(self, line: str) -> None:
        """Says something above the bar."""
        # Names of files may hold line breaks and bytes that are no text.
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        self._progress.console.print(f"kinochrome: {shown}", markup=False, highlight=False, soft_wrap=True)

    def update(self, done: int, expected: int | None) -> None:
        """Frames done, of how many."""
        self._draw(done, expected)

    def _draw(self, done: float, expected: float | None, name: str | None = None) -> None:
        self._progress.update(self._task, completed=done, total=expected, description=name)
        self._stop.defer()
        self._stop.check()
