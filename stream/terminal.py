"""What commands tell on a terminal: results on stdout, progress with its ETA on stderr."""

from json import dumps
from typing import Protocol, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from stream.errors import plain
from stream.stop import Stop


class _Result(Protocol):
    """What a command has to tell."""

    def lines(self) -> list[str]:
        """For people."""

    def as_dict(self) -> dict[str, object]:
        """For programs."""


def show(result: _Result, json: bool) -> None:
    """Prints what a command has to tell, as lines or as one JSON object."""
    for line in [dumps(result.as_dict())] if json else result.lines():
        print_line(line)


def print_line(line: str) -> None:
    """Prints a line, whatever bytes a file's name in it holds."""
    typer.echo(plain(line))


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
        self._progress.console.print(f"kinochrome: {plain(line)}", markup=False, highlight=False, soft_wrap=True)

    def update(self, done: int, expected: int | None) -> None:
        """Frames done, of how many."""
        self._draw(done, expected)

    def _draw(self, done: float, expected: float | None, name: str | None = None) -> None:
        self._progress.update(self._task, completed=done, total=expected, description=name)
        self._stop.defer()
        self._stop.check()
