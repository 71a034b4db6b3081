"""The commands, their options and what they print: results on stdout, progress on stderr.

Everything heavy is imported by the command that needs it, so that `kinochrome --help` answers at once.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from importlib import metadata
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup

from stream.config import NATURAL, STYLE_SIDE, RuntimeName, Settings
from stream.defaults import Default, read_defaults
from stream.errors import EXIT_DAMAGED, EXIT_DONE, EngineError, UsageError
from stream.keys import Security
from stream.options import (
    AllowOption,
    ClusterOption,
    Codec,
    Deinterlace,
    Detail,
    Fresh,
    In,
    InOption,
    InsecureOption,
    Json,
    KeysOption,
    LumaOption,
    Mixed,
    NoProgress,
    Nvdec,
    Out,
    Overwrite,
    PublishOption,
    Rate,
    RuntimeOption,
    Saturation,
    Steady,
    Strength,
    Strict,
    Threads,
)
from stream.stop import Stop
from stream.terminal import Bar, print_line, show

if TYPE_CHECKING:  # NumPy behind it would delay every command
    from stream.archive import Cluster
    from stream.film import Info
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
    if painting:
        _needed(style, "--style LOOK|PICTURE", command)
    elif style is None:
        _refuse_alone(context, ("strength", "detail"), "--style LOOK|PICTURE")
    style = None if style == NATURAL else style
    settings = check_settings(
        style=style,
        strength=strength,
        detail=detail,
        source_colours=painting and style is not None,
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
    from stream.source import probe

    if cluster is not None and shots is not None:
        raise UsageError(NO_CLUSTER)
    listed = None if shots is None else read_shots(shots)
    target, notice = default_target(source) if out is None else (out, "")
    context.obj.stop.check()
    security = Security(own=keys, peers=allow, insecure=insecure)
    look, stop = settings.style or NATURAL, context.obj.stop
    with (
        _publishing(publish, security, look, stop, lambda: probe(source, luma=luma, rate=as_rate(rate))) as see,
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
    rows = [{"name": NATURAL, "title": "natural colour, luma untouched"}]
    rows += [{"name": look.name, "title": f"after {look.title}"} for look in found]
    if sheet is not None:
        from stream.gallery import draw_looks

        draw_looks(release, sheet, frame, overwrite=overwrite)
    if json:
        about = {"weights": release.file, "version": release.version, "licence": release.licence}
        print_line(dumps({"looks": rows, **about, "sheet": str(sheet) if sheet else None}))
    else:
        for row in rows:
            print_line(f"{row['name']}: {row['title']}")
        print_line(
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
        print_line(dumps({"ready": ready, "findings": [finding.as_dict() for finding in findings]}))
    else:
        for finding in findings:
            print_line(finding.line())
        print_line("ready to colourise films" if ready else "not ready: see MISSING above")
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
        result = run_demo(out, progress=bar.update, tell=bar.tell)
    show(result, json)
    return result.exit_code


@contextmanager
def _publishing(
    endpoint: str | None, security: Security, look: str, stop: Stop, about: "Callable[[], Info]"
) -> Iterator["Callable[[Frame], None] | None"]:
    """What hands the frames of a film to whoever subscribes; None where nobody was asked for.

    about: what the film is.
    """
    if endpoint is None:
        yield None
        return
    from stream.endpoint import resolve
    from stream.publish import Announcer

    where = resolve(endpoint, trusted=security.trusted)
    with Announcer(where, check=stop.check, security=security, look=look, info=about()) as announcer:
        if where.any_port:
            typer.echo(f"kinochrome: publishing at {replace(where, address=announcer.address)}", err=True)
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
