"""Options that somebody wants every time, from kinochrome.toml and from the environment.

    [colorize]
    steady = 0.9
    runtime = "openvino"

KINOCHROME_COLORIZE_STEADY=0.9 says the same. Flags win over the environment, and that over the file.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.errors import UsageError

NAME = "kinochrome.toml"
PREFIX = "KINOCHROME_"


@dataclass(frozen=True, kw_only=True)
class Default:
    """One option's value."""

    value: str
    """As a word, to be read as a flag's would be."""
    origin: str
    """The file or the environment variable that it is from."""


Options = Mapping[str, Mapping[str, str]]
"""For each command its options by their long names without dashes, and what the program calls them."""


def read_defaults(folder: Path, environment: Mapping[str, str], options: Options) -> dict[str, dict[str, Default]]:
    """Defaults by command and by what the program calls the option.

    Raises UsageError for whatever is unknown, so that a slip of the pen is never silently without effect.
    """
    defaults: dict[str, dict[str, Default]] = {command: {} for command in options}
    defaults |= _from_file(folder, environment, options)
    for command, names in options.items():
        prefix = f"{PREFIX}{command.upper()}_"
        for variable, value in environment.items():
            if variable.startswith(prefix) and value:
                name = variable.removeprefix(prefix).lower().replace("_", "-")
                _check(name, names, f"{variable} (environment): --{name}")
                defaults[command][names[name]] = Default(value=value, origin=variable)
    return defaults


def _from_file(folder: Path, environment: Mapping[str, str], options: Options) -> dict[str, dict[str, Default]]:
    """From kinochrome.toml in `folder`, else in $XDG_CONFIG_HOME/kinochrome."""
    config_home = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    path = next((path for path in (folder / NAME, config_home / "kinochrome" / NAME) if path.is_file()), None)
    if path is None:
        return {}
    defaults: dict[str, dict[str, Default]] = {}
    for command, table in _parse(path).items():
        if command not in options or not isinstance(table, dict):
            raise UsageError(f"{path}: [{command}] is no command; {', '.join(sorted(options))} are")
        defaults[command] = {}
        for key, value in table.items():
            name = key.replace("_", "-")
            _check(name, options[command], f"{path}: [{command}] {key}")
            if isinstance(value, dict | list):
                raise UsageError(f"{path}: [{command}] {key} takes one value")
            defaults[command][options[command][name]] = Default(value=str(value), origin=str(path))
    return defaults


def _check(name: str, names: Mapping[str, str], where: str) -> None:
    if name not in names:
        raise UsageError(f"{where} is no option; {', '.join(sorted(names))} are")


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:  # of TOML or of UTF-8
        raise UsageError(f"{path}: no valid TOML ({error})") from error
