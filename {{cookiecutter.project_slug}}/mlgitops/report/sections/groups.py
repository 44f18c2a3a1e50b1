"""Where the challenger does worse, and how alike groups are treated."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlgitops.report.text import code, interval, number, table, text

Facts = Mapping[str, Any]
RATES = ("selected", "true positive", "false positive")


def slices(found: Facts | None) -> str:
    """Where the challenger does worst, of all that was looked at."""
    rows = [
        [
            f"{text(r['column'])}: {text(r['value'])}",
            f"{r['rows']:,}",
            number(r["champion"]),
            number(r["challenger"]),
            f"{r['difference']:+.4f}" if r.get("difference") is not None else "none",
            ("⛔ surely worse, " if r.get("failed") else "") + interval(r),
        ]
        for r in (found or {}).get("rows", [])
    ]
    if not found or not rows:
        return ""
    words = (
        f"The worst {len(rows)} of {found['looked_at']} slices by "
        f"{text(found['metric'])} (lower is better).\n\n"
    )
    header = ["Slice", "Rows", "Champion", "Challenger", "Difference", "Interval"]
    return words + table(header, rows)


def fairness(found: Sequence[Facts] | None) -> str:
    """How alike groups are treated, column by column."""
    parts = []
    for column in found or []:
        sides = [w for w in ("champion", "challenger") if column["groups"][0].get(w)]
        header = ["Group", "Rows"]
        for who in sides:
            first, *rest = map(text, column.get("rates") or RATES)
            header += [f"{who}: {first}", *rest]
        groups = [
            [
                code(group["group"]),
                f"{group['rows']:,}",
                *(number(rate) for who in sides for rate in group[who]),
            ]
            for group in column["groups"]
        ]
        gaps = [
            [
                text(gap["rate"]),
                number(gap["champion"]),
                number(gap["challenger"]),
                interval(gap),
                f"{gap['limit']:g}",
                " above ".join(map(code, gap["pair"])),
            ]
            for gap in column["gaps"]
        ]
        columns = ["Gap", "Champion", "Challenger", "Interval", "Limit", "Widest"]
        parts.append(f"{code(column['column'])}\n\n{table(header, groups)}")
        parts.append(table(columns, gaps))
    if any(g["rate"] == "true positive rate" for c in found or [] for g in c["gaps"]):
        parts.append(
            "The equalized odds difference is the larger gap of the true and the false "
            "positive rate."
        )
    return "\n\n".join(parts)
