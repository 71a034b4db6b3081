"""How figures are written into a report."""

from torch import Tensor

from train import measures


def rounded(value: float | None, factor: float = 1) -> float | None:
    """`value` times `factor` to six places; None stays."""
    return None if value is None else round(factor * value, 6)


def estimated(name: str, values: Tensor) -> dict[str, float | None]:
    """The mean of values `[N]` under `name`, and one standard error under `name`_se."""
    mean, error = measures.estimate(values)
    return {name: rounded(mean), f"{name}_se": rounded(error)}
