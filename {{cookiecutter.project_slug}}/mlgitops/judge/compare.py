"""Two models on the same rows: differences with paired intervals; arrays in, out.

`y` is 0/1, `old` and `new` are P(y = 1), all [n]. A difference is new minus old.
`clusters` are the rows' entities, int [n], where rows of one entity belong together.
"""

from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlgitops.metrics import groups as entities

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]
Statistic = Callable[[Vector, Vector, Vector], Vector]  # weights [r, n], y, p -> [r]

RESAMPLES = 1_000
FEWER = 400  # resamples of a metric that is a function of rows
ROWS = 20_000  # of each of them, at most
DEFINED = 0.9  # share of them that must have the metric
CELLS = 4_000  # rows above which equal scores are counted together
STEPS = 64  # quantiles of each model's scores in that case
CHUNK = 2**22  # numbers held at a time
DRAWN = 4_000  # entities above which some, by chance, are resampled together
LEAST = 1e-12  # a p-value by entity is not told from any below


class Interval(NamedTuple):
    """A difference with its interval, and how that was found."""

    difference: float
    low: float
    high: float
    method: str


def mean_difference(
    old: Vector, new: Vector, confidence: float, clusters: Codes | None = None
) -> Interval:
    """Return the difference of two means over the same rows, with its interval.

    The central limit theorem for the mean of paired differences [n].
    """
    gaps = np.asarray(new - old, np.float64)
    middle, one = float(gaps.mean()), np.zeros(len(gaps), np.int64)
    reach = entities.spread(gaps, one, clusters).reach(confidence)
    reach = reach if len(gaps) > 1 else float("inf")
    return Interval(middle, middle - reach, middle + reach, "paired mean")


def bootstrap(
    statistic: Statistic,
    y: Vector,
    old: Vector,
    new: Vector,
    confidence: float,
    seed: int = 0,
    *,
    clusters: Codes | None = None,
    also: Vector | None = None,
    whole: bool = False,
) -> Interval:
    """Return the difference of a statistic, with its paired bootstrap interval.

    ``also`` is the new model's `y`, where that differs; with ``whole`` the scores are
    whole numbers, of which rows that are equal are counted together.

    Percentiles of 1,000 resamples of the rows, both models on the same ones, with
    Poisson weights (Hanley and MacGibbon 2006, Computer Methods and Programs in
    Biomedicine 83(1)). Above 4,000 rows, rows whose scores fall into the same pair of
    1/64 quantiles are resampled together; the difference itself is always exact. By
    entity, one weight is drawn for all rows of one, and the interval is widened as
    Student's t is for so many (Hesterberg 2015, The American Statistician 69(4)).
    """
    random = np.random.default_rng(seed)
    new_y = y if also is None else also
    cells = _cells(y, new_y, old, new, whole)
    draw, wider = _by_row(random, cells.rows), 1.0
    if clusters is not None:
        draw = _by_entity(random, clusters, cells.of)
        wider = _wider(len(np.unique(clusters)), confidence)
    drawn = [cells.difference(statistic, draw(n)) for n in _batches(len(cells.rows))]
    once = np.ones((1, len(y)))
    exact = float(statistic(once, new_y, new)[0] - statistic(once, y, old)[0])
    center = cells.difference(statistic, cells.rows[None])[0]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    spread = np.nanquantile(np.concatenate(drawn), tails) - center
    low, high = exact + wider * spread
    return Interval(exact, float(low), float(high), "paired bootstrap")


def resampled(
    value: Callable[[Any, Any], float],
    y: Any,
    old: Any,
    new: Any,
    confidence: float,
    seed: int = 0,
    *,
    clusters: Codes | None = None,
) -> Interval:
    """Return the difference of any metric value(y, p), with its bootstrap interval.

    Rows (or whole entities) are drawn with replacement, both models on the same ones.
    Above 20,000 rows so many are drawn, and the interval is narrowed by the root of
    the share: the m out of n bootstrap (Bickel, Goetze and van Zwet 1997, Statistica
    Sinica 7(1)). Where too few resamples have the metric, the interval is infinite.
    """
    random, share = np.random.default_rng(seed), min(1.0, ROWS / len(y))
    middle, wider = value(y, new) - value(y, old), share**0.5
    draw = _rows(random, len(y), share)
    if clusters is not None:
        draw = _entities(random, clusters, share)
        wider *= _wider(len(np.unique(clusters)), confidence)
    found = []
    for _ in range(FEWER):
        rows = draw()
        try:
            found.append(value(y[rows], new[rows]) - value(y[rows], old[rows]))
        except ValueError:  # such as a resample without a row of one class
            continue
    if len(found) < DEFINED * FEWER or not np.isfinite(wider):
        return Interval(middle, -np.inf, np.inf, "paired bootstrap")
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = middle + wider * (np.quantile(found, tails) - middle)
    return Interval(middle, float(low), float(high), "paired bootstrap")


def average_precision(weights: Vector, y: Vector, p: Vector) -> Vector:
    """Return the average precision of each row of weights [r, n], as [r]."""
    order = np.argsort(-p, kind="stable")
    last = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    sorted_weights = weights[:, order]
    seen = np.cumsum(sorted_weights, axis=1)[:, last]
    hits = np.cumsum(sorted_weights * y[order], axis=1)[:, last]
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(seen > 0, hits / seen, 0.0)
        steps = np.diff(hits, axis=1, prepend=0.0)
        return np.asarray((steps * precision).sum(axis=1) / hits[:, -1])


def calibration_error(weights: Vector, y: Vector, p: Vector, bins: int = 10) -> Vector:
    """Return the expected calibration error of each row of weights [r, n], as [r]."""
    place = np.clip((p * bins).astype(int), 0, bins - 1)
    member = np.zeros((len(p), bins))
    member[np.arange(len(p)), place] = 1.0
    gaps = weights @ (member * (p - y)[:, None])
    return np.asarray(np.abs(gaps).sum(axis=1) / weights.sum(axis=1))


def f1(weights: Vector, y: Any, decided: Any, k: int, weighted: bool) -> Vector:
    """Return the mean F1 of k classes of each row of weights [r, n], as [r].

    Weighted by the classes' rows, or over those that are true or decided somewhere.
    """
    true, said = (np.eye(k)[np.asarray(each, int)] for each in (y, decided))
    rows, taken, hits = weights @ true, weights @ said, weights @ (true * said)
    with np.errstate(invalid="ignore"):
        found = 2 * hits / (rows + taken)
    if weighted:
        return np.asarray(np.nansum(found * rows, axis=1) / rows.sum(axis=1))
    return np.asarray(np.nanmean(found, axis=1))


def mcnemar(
    right: NDArray[Any], righter: NDArray[Any], clusters: Codes | None = None
) -> dict[str, Any]:
    """Compare two models' right decisions (bool [n]) where only one of them is right.

    The exact two-sided test of McNemar (1947), Psychometrika 12(2). By entity it is the
    same test of what each entity won less what it lost: as often one way as the other.
    """
    from scipy.special import bdtr  # scipy.stats would take a second to import

    lost, won = int((right & ~righter).sum()), int((~right & righter).sum())
    if clusters is not None:
        gains = righter.astype(np.float64) - right
        p = _flipped(np.asarray(np.bincount(clusters, gains), np.float64))
    else:
        p = min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))
    return {"only_champion_right": lost, "only_challenger_right": won, "p": p}


def _flipped(won: Vector) -> float:
    """Return how often whole numbers [k], each of either sign, sum up to as much.

    Exact, as the product of the numbers' characteristic functions.
    """
    sizes, times = np.unique(np.abs(won[won != 0]), return_counts=True)
    most = int(np.dot(sizes, times))
    turns = 2 * np.pi * np.arange(2 * most + 1) / (2 * most + 1)
    wave = np.ones(2 * most + 1)
    for size, many in zip(sizes, times, strict=True):
        wave *= np.cos(size * turns) ** many
    chances = np.fft.ifft(wave).real
    sums = np.minimum(np.arange(2 * most + 1), np.arange(2 * most + 1, 0, -1))
    return float(np.clip(chances[sums >= abs(round(won.sum()))].sum(), LEAST, 1.0))


def rates(
    hits: Vector, rows: Vector, others: Vector, of: Vector, confidence: float
) -> tuple[Vector, Vector, Vector]:
    """Return the difference of independent shares hits/rows - others/of, low and high.

    All [k]. Newcombe (1998), Statistics in Medicine 17(8), method 10: from the score
    intervals of Wilson, so that it holds for few rows and for shares near 0 and 1.
    """
    z = normal(confidence)
    p, q = hits / rows, others / of
    (p_low, p_high), (q_low, q_high) = _wilson(p, rows, z), _wilson(q, of, z)
    low = p - q - np.sqrt((p - p_low) ** 2 + (q_high - q) ** 2)
    high = p - q + np.sqrt((p_high - p) ** 2 + (q - q_low) ** 2)
    return p - q, low, high


def means(
    counts: tuple[Vector, Vector, Vector],
    high: NDArray[np.int64],
    low: NDArray[np.int64],
    confidence: float,
) -> tuple[Vector, Vector, Vector]:
    """Return the difference of the means of groups high - low, low end and high end.

    ``counts`` are sums, rows and sums of squares, all [groups]. Welch (1947).
    """
    sums, rows, squares = counts
    mean = sums / rows
    variance = np.maximum(squares / rows - mean**2, 0) / np.maximum(rows - 1, 1)
    gap = mean[high] - mean[low]
    reach = normal(confidence) * np.sqrt(variance[high] + variance[low])
    return gap, gap - reach, gap + reach


def smallest(low: float, high: float, confidence: float, power: float = 0.8) -> float:
    """Return the smallest true difference that these rows would likely have shown.

    From the width of an interval that was found: (z_confidence + z_power) errors.
    """
    error = (high - low) / 2 / normal(confidence)
    return (normal(confidence) + NormalDist().inv_cdf(power)) * error


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values [k] adjusted for their number.

    Holm (1979), Scandinavian Journal of Statistics 6(2).
    """
    order = np.argsort(p)
    steps = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def normal(confidence: float) -> float:
    """Return how many standard errors a two-sided interval reaches."""
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _wilson(p: Vector, rows: Vector, z: float) -> tuple[Vector, Vector]:
    """Return the limits of Wilson's score interval of shares of so many rows."""
    middle = (p + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = np.sqrt(p * (1 - p) / rows + z**2 / (4 * rows**2)) * z / (1 + z**2 / rows)
    return middle - reach, middle + reach


class _Cells(NamedTuple):
    """Rows that are resampled together, and what stands for them."""

    of: Codes  # each row's cell
    rows: Vector  # in each cell; all that follow are of cells
    old_y: Vector
    new_y: Vector
    old: Vector
    new: Vector

    def difference(self, statistic: Statistic, weights: Vector) -> Vector:
        """Return the difference of a statistic for each row of weights [r, cells]."""
        new = statistic(weights, self.new_y, self.new)
        return new - statistic(weights, self.old_y, self.old)


def _cells(y: Vector, also: Vector, old: Vector, new: Vector, whole: bool) -> _Cells:
    """Return a cell for each of few rows, of many one for those of near scores."""
    if len(y) <= CELLS and not whole:
        return _Cells(np.arange(len(y)), np.ones(len(y)), y, also, old, new)
    keys = y.astype(np.int64) * 2 + (also != y)  # y differs for 0/1 only
    for scores in (old, new):
        if whole:
            keys = keys * (int(scores.max()) + 1) + scores
            continue
        edges = np.quantile(scores, np.linspace(0, 1, STEPS + 1)[1:-1])
        keys = keys * STEPS + np.searchsorted(edges, scores, side="right")
    _, of = np.unique(keys, return_inverse=True)
    rows = np.bincount(of).astype(np.float64)
    means = (np.bincount(of, part) / rows for part in (y, also, old, new))
    return _Cells(of, rows, *means)


def _batches(cells: int) -> Iterator[int]:
    """Give how many resamples are drawn at a time, so that they fit into memory."""
    step = max(1, CHUNK // cells)
    for start in range(0, RESAMPLES, step):
        yield min(step, RESAMPLES - start)


def _rows(
    random: np.random.Generator, count: int, share: float
) -> Callable[[], NDArray[np.int64]]:
    """Draw the places of rows, with replacement."""
    return lambda: random.integers(0, count, round(count * share))


def _entities(
    random: np.random.Generator, clusters: Codes, share: float
) -> Callable[[], NDArray[np.int64]]:
    """Draw the places of all rows of entities, which are drawn with replacement."""
    order = np.argsort(clusters, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(clusters))[:-1])
    many = max(2, round(len(rows) * share))
    return lambda: np.concatenate(
        [rows[n] for n in random.integers(0, len(rows), many)]
    )


def _by_row(random: np.random.Generator, counts: Vector) -> Callable[[int], Vector]:
    """Draw weights [times, cells], each row's by itself."""
    return lambda times: random.poisson(counts, (times, len(counts))).astype(np.float64)


def _wider(number: int, confidence: float) -> float:
    """Return what an interval from so few entities lacks."""
    if number < 2:
        return float("inf")
    known = entities.quantile(confidence, number - 1) / normal(confidence)
    return float(known * (number / (number - 1)) ** 0.5)


def _by_entity(
    random: np.random.Generator, clusters: Codes, place: Codes
) -> Callable[[int], Vector]:
    """Draw weights [times, cells], one for all rows of an entity."""
    from scipy.sparse import csr_array

    drawn = random.permutation(int(clusters.max()) + 1) % DRAWN
    held = csr_array((np.ones(len(place)), (place, drawn[clusters])))
    shape = (held.shape[1],)
    return lambda times: np.asarray(
        (held @ random.poisson(1.0, (*shape, times)).astype(np.float64)).T
    )
