"""What docs/cluster.md says of sizes is what `make cluster` measured."""

from benchmarks import cluster, scale
from benchmarks.cluster import Run
from benchmarks.cost import Cost


def test_the_page_quotes_what_the_command_wrote() -> None:
    """Measured again: `make cluster` writes both."""
    text = cluster.DOCS.read_text(encoding="utf-8")
    assert cluster.quoted() in text
    assert "`make cluster ROWS=" in cluster.quoted(), "the command of the figures"
    assert all(f"- {name}: 1 worker " in text for name in cluster.TASKS.values())


def runs(local: list[float], there: list[float]) -> cluster.Runs:
    """Return runs of a scan of 10, 100, ... rows, as long on each number of workers."""
    found: cluster.Runs = {}
    for n, seconds in enumerate(zip(local, there, strict=True)):
        for count in cluster.WORKERS:
            taken = seconds[count > 0]
            found["scan", 10 ** (n + 1), count] = Run(taken, 1, taken, 1, 1, "")
    return found


def test_from_which_size_a_cluster_is_sooner() -> None:
    """From there on at every size: one lucky run among small ones does not count."""
    sooner = cluster.pays(runs([1, 10, 10], [2, 5, 5]), "scan")
    assert sooner[0] == "1 worker from 100 rows on"
    lucky = cluster.pays(runs([1, 1, 4], [0.5, 2, 3.9]), "scan")
    assert lucky[0] == "1 worker at no size up to 1,000", "the noise of a busy machine"
    largest = cluster.pays(runs([1, 1, 4], [0.5, 2, 3]), "scan")
    assert largest[0] == "1 worker at 1,000 rows, no more were measured"
    never = cluster.pays(runs([1, 1, 4], [0.5, 2, 5]), "scan")
    assert never[-1] == "4 workers at no size up to 1,000"


def test_more_rows_than_were_measured_are_a_line_of_their_own() -> None:
    """At least the work here, and the workers' shared: 1 s, and 10 s in 4 or 16."""
    measured, beyond = cluster.farther(runs([1, 2], [5, 10]), "scan").splitlines()
    assert measured == "| the monitor's scan | 100 | 2 | 10 | 2 | 1 |"
    assert beyond.startswith("| the monitor's scan | 100,000,000 |")


def costs(peak: float) -> scale.Costs:
    """Return costs of all commands at two sizes, with a memory that grows."""
    return {
        rows: {name: Cost(rows / 1e5, 1, peak * rows / 1e6) for name in scale.COMMANDS}
        for rows in (100_000, 1_000_000)
    }


def test_what_does_not_fit_the_memory_is_left_out_and_said() -> None:
    """With the stages that need it; what fits stays: the control."""
    chosen, left_out = scale.fitting(costs(1.0), 10_000_000)
    assert chosen == scale.COMMANDS and left_out == []
    chosen, left_out = scale.fitting(costs(1e9), 10_000_000)
    assert chosen == {} and left_out[0].startswith("`data` of 10,000,000 rows is not")
    assert scale.no_room(10**15) and not scale.no_room(1)
    (guess,) = scale.beyond(scale.BATCHED, costs(1.0))
    assert "not measured" in guess and "100,000,000 rows in batches" in guess


def test_from_which_size_the_settings_of_a_large_table_pay() -> None:
    """By the largest process; the page has both ways of a size side by side."""
    ways = {scale.SHIPPED: costs(1_000.0), scale.BATCHED: costs(500.0)}
    del ways[scale.BATCHED][100_000]
    said = scale.pays(ways)
    assert "1,000 MB as shipped and 500 MB in batches" in said[0]
    assert said[-1].startswith("1,000,000 rows is the smallest")
    first, *_ = scale.lines_of(ways, 1_000_000)
    assert first == "| 1,000,000 | `data` | 10.0 | 1,000 | 10.0 | 500 |"
    assert scale.lines_of(ways, 100_000)[0].endswith("| 1.0 | 100 |  |  |")
    assert scale.chart(ways).count("<polyline") == 4 * len(scale.COMMANDS)
    assert scale.pays({**ways, scale.BATCHED: costs(2_000.0)})[-1].startswith("No size")
