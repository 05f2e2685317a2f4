"""A handful of numbers, one for each seed: what every statistic here starts from."""

from collections.abc import Sequence

import numpy as np

from clntk.errors import DataError

Values = Sequence[float] | np.ndarray

ROUNDING = 1e-12  # spread below this share of the mean is rounding, not variation


def checked(values: Values, where: str) -> np.ndarray:
    """The values as a flat array of floats.

    Raises:
        DataError: for values that are not flat or not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not np.isfinite(sample).all():
        found = f"{int((~np.isfinite(sample)).sum())} values not finite in an array of shape {sample.shape}"
        raise DataError(
            f"{where}: expected a flat list of finite numbers, one for each seed, found {found}; "
            "leave out the seeds without a value"
        )
    return sample


def spread(*samples: np.ndarray) -> float:
    """The standard deviation within samples, pooled over them; 0 where they do not vary beyond rounding.

    Args:
        samples: each with shape (seeds,); together at least one value more than there are samples.
    """
    squares = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in samples)
    sd = np.sqrt(squares / (sum(map(len, samples)) - len(samples)))
    return float(sd) if sd > ROUNDING * max(abs(sample.mean()) for sample in samples) else 0.0
