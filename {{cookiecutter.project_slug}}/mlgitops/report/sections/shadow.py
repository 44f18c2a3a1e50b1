"""What a shadow of this version predicted of production's requests."""

from mlgitops.judgement import Estimate, Shadow
from mlgitops.report.facts import Facts
from mlgitops.report.text import code, table, text

HEADER = ("Challenger beside champion", "Value", "Interval")


def shadow(facts: Facts) -> str:
    """How a shadow of this version predicted what production's champion answered."""
    found = facts.judgement.shadow
    if found is None:
        return ""
    if found.shift is None:
        return f"Not known: {text(found.why, 300)}."
    share = f" ({found.pairs / found.rows:.1%})" if found.rows else ""
    grouped = f" by {text(found.entity, 40)}" if found.entity else ""
    bounded = ""
    if found.bounded:
        bounded = f" Only {found.bounded:,} lines of a log were read."
    return (
        f"The champion answered {found.rows:,} requests while a shadow of this version "
        f"ran, from {text(found.since)} to {text(found.until)}. The shadow predicted "
        f"{found.pairs:,} of them{share}. Intervals are at {found.confidence:.0%}"
        f"{grouped}.{bounded}\n\n{table(HEADER, _rows(found))}"
    )


def _rows(found: Shadow) -> list[list[str]]:
    """Return the rows of the table."""
    rows, of = [], f" of {code(found.of)}" if found.of else ""
    if (changed := found.changed) is not None:
        agree = Estimate(1 - changed.value, 1 - changed.high, 1 - changed.low)
        for name, share in (("the same", agree), ("another", changed)):
            ends = f"{share.low:.2%} to {share.high:.2%}"
            rows.append([f"Requests with {name} decision", f"{share.value:.2%}", ends])
    if (shift := found.shift) is not None:
        ends = f"{shift.low:+.4g} to {shift.high:+.4g}"
        rows.append([f"Mean shift of the prediction{of}", f"{shift.value:+.4g}", ends])
    about = f"Mean distance of a row's two predictions{of}"
    rows.append([about, f"{found.moved:.4g}", ""])
    deviations = f"{found.distance:.3f} standard deviations of the champion's"
    rows.append([f"Distance of the distributions{of}", deviations, ""])
    if found.cpu_ms is not None:
        median, p99 = found.cpu_ms
        times = f"median {median:.2g} ms, 99 of 100 rows below {p99:.2g} ms"
        rows.append(["Processor time of a row in the shadow", times, ""])
    return rows
