"""A session's figures for Prometheus."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from stream.errors import UsageError

_COUNTERS = {
    "frames_in": "Pictures that came in",
    "frames_out": "Pictures coloured",
    "frames_dropped": "Pictures dropped rather than lag",
    "reconnects": "Times the source was opened again",
    "lost_s": "Seconds of a film that its server did not have any more after a break",
    "rejected": "Requests that were no good",
}
_UNITS = {"lost_s": "lost_seconds"}


def expose(numbers: dict[str, Any]) -> tuple[bytes, str]:
    """The text of a metrics page and its type; UsageError that says what to install without prometheus-client."""
    try:
        client, core = import_module("prometheus_client"), import_module("prometheus_client.core")
    except ImportError as error:
        from stream.doctor import install

        raise UsageError(f"/metrics needs prometheus-client: {install('metrics')}") from error

    class Collector:
        """Draws every figure up when it is asked for."""

        def collect(self) -> Iterator[Any]:
            yield from _families(core, numbers)

    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return bytes(client.generate_latest(registry)), str(client.CONTENT_TYPE_LATEST)


def _families(core: Any, numbers: dict[str, Any]) -> Iterator[Any]:  # noqa: ANN401  (an extra, imported by name)
    for name, text in _COUNTERS.items():
        yield core.CounterMetricFamily(f"kinochrome_{_UNITS.get(name, name)}", text, value=numbers[name])
    yield core.GaugeMetricFamily("kinochrome_fps", "Pictures a second, of the last seconds", value=numbers["fps"])
    yield core.GaugeMetricFamily(
        "kinochrome_age_seconds", "Since the last picture came in", value=numbers["age_ms"] / 1000
    )
    yield core.GaugeMetricFamily("kinochrome_up", "The source is live", value=int(numbers["state"] == "live"))
    latency = core.GaugeMetricFamily("kinochrome_latency_seconds", "From capture to colour", labels=["quantile"])
    for name, value in (numbers["latency_ms"] or {}).items():
        latency.add_metric([f"0.{name[1:]}"], value / 1000)
    yield latency
    sinks = {
        "written": core.CounterMetricFamily("kinochrome_sink_written", "Pictures a sink took", labels=["sink"]),
        "dropped": core.CounterMetricFamily("kinochrome_sink_dropped", "Dropped before a slow sink", labels=["sink"]),
        "reconnects": core.CounterMetricFamily(
            "kinochrome_sink_reconnects", "Times that a sink's server came back", labels=["sink"]
        ),
    }
    for name, sink in numbers["sinks"].items():
        for key, family in sinks.items():
            family.add_metric([name], sink[key])
    yield from sinks.values()
