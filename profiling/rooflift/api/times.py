"""Times of one's own compared: the statistics behind every verdict, on arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rooflift.analysis.compare import RatioEstimates, Rule, estimate_ratios, verdicts

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

DEFAULT = Rule()


def compare_times(
    base_us: ArrayLike,
    head_us: ArrayLike,
    *,
    paired: bool,
    alpha: float = DEFAULT.alpha,
    min_effect: float = DEFAULT.min_effect,
    corrected: bool = True,
) -> pd.DataFrame:
    """Compare arrays of times, (samples,) or (comparisons, samples), in any unit: one row a comparison.

    `paired`: sample i of both was taken in the same round. Columns: time_x (head over base), low and high (its interval
    at 1 - `alpha`), p, verdict. With `corrected` the p are corrected for the number of rows by Holm's method; without,
    each row is a comparison of its own. The method is that of `Run.compare`.

    >>> import rooflift as rl
    >>> base = [100.0 + i % 5 for i in range(50)]
    >>> rl.compare_times(base, [1.1 * time for time in base], paired=True)["verdict"][0]
    'slower'

    Raises:
        ValueError: the arrays do not fit: another number of comparisons or, paired, of samples.
    """
    import numpy as np
    import pandas as pd

    base, head = (np.atleast_2d(np.asarray(times, dtype=float)) for times in (base_us, head_us))
    if len(base) != len(head) or (paired and base.shape != head.shape):
        raise ValueError(f"base is {base.shape} and head {head.shape}: (comparisons, samples) must fit")
    rule = Rule(alpha, min_effect)
    found = estimate_ratios(base, head, paired=paired, alpha=alpha)
    groups = [slice(None)] if corrected else [slice(row, row + 1) for row in range(len(base))]
    judged = [
        verdicts(RatioEstimates(*(values[rows] for values in found)), np.full(len(found.p[rows]), min_effect), rule)
        for rows in groups
    ]
    return pd.DataFrame(
        {
            "time_x": found.time_x,
            "low": found.low,
            "high": found.high,
            "p": np.concatenate([p for p, _ in judged]),
            "verdict": [verdict for _, words in judged for verdict in words],
        }
    )
