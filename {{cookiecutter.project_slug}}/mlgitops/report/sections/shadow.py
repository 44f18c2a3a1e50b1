"""What a shadow of this version predicted of production's requests."""

from mlgitops.judgement import Estimate, Shadow
from mlgitops.report.facts import Facts
from mlgitops.report.text import code, table, text

HEADER = ("Challenger beside champion", "Value", "Interval")


def shadow(facts: Facts) -> str:
    """How a shadow of this version predicted what production's champion answered."""
    result = facts.judgement.shadow
    if result is None:
        return ""
    if result.why or not result.pairs:
        return f"Not known: {text(result.why, 300)}."
    share = f" ({result.pairs / result.rows:.1%})" if result.rows else ""
    grouped = f" by {text(result.entity, 40)}" if result.entity else ""
    bounded = ""
    if result.bounded:
        bounded = f" Only {result.bounded:,} lines of a log were read."
    return (
        f"The champion answered {result.rows:,} requests while a shadow of it "
        f"ran, from {text(result.since)} to {text(result.until)}. The shadow predicted "
        f"{result.pairs:,} of them{share}. Intervals are at {result.confidence:.0%}"
        f"{grouped}.{bounded}\n\n{table(HEADER, _rows(result))}"
    )


def _rows(result: Shadow) -> list[list[str]]:
    """Return the rows of the table."""
    rows, of = [], f" of {code(result.of)}" if result.of else ""
    if (changed := result.changed) is not None:
        agree = Estimate(1 - changed.value, 1 - changed.high, 1 - changed.low)
        for name, share in (("the same", agree), ("another", changed)):
            ends = f"{share.low:.2%} to {share.high:.2%}"
            rows.append([f"Requests with {name} decision", f"{share.value:.2%}", ends])
    if (shift := result.shift) is not None:
        ends = f"{shift.low:+.4g} to {shift.high:+.4g}"
        rows.append([f"Mean shift of the prediction{of}", f"{shift.value:+.4g}", ends])
    label = f"Mean distance of a row's two predictions{of}"
    rows.append([label, f"{result.moved:.4g}", ""])
    deviations = f"{result.distance:.3f} standard deviations of the champion's"
    rows.append([f"Distance of the distributions{of}", deviations, ""])
    if result.cpu_ms is not None:
        median, p99 = result.cpu_ms
        times = f"median {median:.2g} ms, 99 of 100 rows below {p99:.2g} ms"
        rows.append(["Processor time of a row in the shadow", times, ""])
    return rows
