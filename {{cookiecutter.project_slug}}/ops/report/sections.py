"""The collapsed sections of the report: facts in, Markdown out, or nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.report import charts
from ops.report.text import by, code, interval, number, table, text

Facts = Mapping[str, Any]
MATRIX = 8  # classes up to which every cell of the matrix of decisions is shown
MIXED = 12  # pairs of classes, or classes, that are named otherwise
RATES = ("selected", "true positive", "false positive")
GRID = [n / 10 for n in range(11)]  # false positive rates at which ROC is drawn


def sections(facts: Facts) -> list[tuple[str, str]]:
    """Return title and body of every section, in order; a body may be empty."""
    return [
        ("Metrics", _metrics(facts)),
        ("Calibration", _calibration(facts.get("calibration"))),
        ("ROC curve", _roc(facts.get("roc"))),
        ("What is left over", _residuals(facts.get("residuals"))),
        ("Decisions", _decisions(facts)),
        ("Slices", _slices(facts.get("slices"))),
        ("Fairness", _fairness(facts.get("fairness"))),
        ("What the models look at", _importance(facts)),
        ("How answers depend on it", _dependence(facts.get("dependence"))),
        ("Decisions that would flip, and why", _flips(facts.get("flips"))),
        ("Production's newest requests, decided again", _replay(facts)),
        ("Latency and size", _footprint(facts.get("footprint"))),
        ("Data changes since the champion", _changes(facts.get("changes"))),
        ("Checks", all_checks(facts.get("checks"))),
        ("Data", pairs(facts.get("rows"))),
        ("Settings that differ from the champion's", _params(facts.get("params"))),
        ("How it was built", pairs(facts.get("build"))),
        (_last(facts), _reproduce(facts)),
    ]


def check_row(check: Facts) -> list[str]:
    """One row of the table of checks."""
    word = "✅&nbsp;passed" if check["passed"] else "⛔&nbsp;failed"
    cells = (text(check[key], 200) for key in ("name", "value", "limit", "why"))
    return [word, *cells]


def all_checks(checks: Sequence[Facts] | None) -> str:
    """Every check with its reason."""
    header = ["", "Check", "Found", "Allowed", "Meaning"]
    return table(header, map(check_row, checks)) if checks else ""


def _metrics(facts: Facts) -> str:
    """Every metric, champion beside challenger, on the same rows."""
    rows = [
        [
            text(m["name"]),
            number(m["champion"]),
            number(m["challenger"]),
            f"{m['difference']:+.4f}" if m.get("difference") is not None else "none",
            interval(m),
            m["better"],
        ]
        for m in facts.get("metrics") or []
    ]
    if not rows:
        return ""
    header = ["Metric", "Champion", "Challenger", "Difference", "Interval"]
    words = _methods(facts)
    if power := facts.get("power"):
        words += (
            f"\n\nA true difference of {power['smallest']:.4f} in {_label(facts)} "
            f"would have shown on these rows {power['power']:.0%} of the time; a "
            "smaller one may be there."
        )
    if uses := facts.get("uses"):
        words += f" This holdout has decided on {uses} models, this one included."
    return table([*header, "Better when"], rows) + words


def _methods(facts: Facts) -> str:
    """How the intervals were found, and whose rows count as one in them."""
    head, found = facts.get("headline") or {}, dict[str, list[str]]()
    for metric in facts.get("metrics") or []:
        if method := metric.get("method"):
            own = head.get("method") if metric.get("key") == head.get("metric") else ""
            found.setdefault(own or method, []).append(text(metric["name"]))
    if not found:
        return ""
    each = "; ".join(f"{method} for {', '.join(of)}" for method, of in found.items())
    if entity := facts.get("entity"):
        name = text(entity["column"], 40)
        each += (
            f". All are by {name}: the rows of each of {entity['count']:,} count as "
        )
        each += "one"
    return f"\n\nIntervals: {each}."


def _label(facts: Facts) -> str:
    """Return the name of the measure that decides."""
    return text((facts.get("headline") or {}).get("label", "ROC AUC"), 40)


def _calibration(bins: Mapping[str, Sequence[Facts]] | None) -> str:
    """Predicted against observed share: both models, drawn and as a table."""
    sides = {who: {r["low"]: r for r in rows} for who, rows in (bins or {}).items()}
    if not sides.get("challenger"):
        return ""
    lows = sorted(set().union(*sides.values()))
    whole = {low: next(s[low] for s in sides.values() if low in s) for low in lows}
    header = ["Predicted"]
    for who in sides:
        header += [f"{who}: rows", "predicted", "observed"]
    rows = [
        [
            _span(whole[low]),
            *(cell for s in sides.values() for cell in _bin(s.get(low))),
        ]
        for low in lows
    ]
    shared = [low for low in lows if all(low in side for side in sides.values())]
    chart = ""
    if len(shared) > 1:  # mermaid's lines have no gaps
        first = sides["challenger"]
        ideal = [(first[low]["low"] + first[low]["high"]) / 2 for low in shared]
        drawn = {w: [s[low]["observed"] for low in shared] for w, s in sides.items()}
        labels = [_span(first[low]) for low in shared]
        axes = ("Calibration", "probability predicted", "share observed")
        chart = charts.lines(*axes, labels, {"ideal": ideal, **drawn})
    return chart + table(header, rows)


def _span(row: Facts) -> str:
    """Return the limits of a bin."""
    return f"{row['low']:.1f} to {row['high']:.1f}"


def _bin(row: Facts | None) -> list[str]:
    """Return the cells of a bin that may be empty."""
    if row is None:
        return ["0", "none", "none"]
    return [f"{row['rows']:,}", f"{row['predicted']:.3f}", f"{row['observed']:.3f}"]


def _roc(curves: Mapping[str, Sequence[Sequence[float]]] | None) -> str:
    """True against false positive rate: both models, drawn and as a table."""
    if not curves:
        return ""
    values = {who: [charts.at(c, x) for x in GRID] for who, c in curves.items()}
    labels = [f"{x:.1f}" for x in GRID]
    axes = ("ROC", "false positive rate", "true positive rate")
    rows = [
        [label, *(f"{line[n]:.3f}" for line in values.values())]
        for n, label in enumerate(labels)
    ]
    chart = charts.lines(*axes, labels, {"chance": GRID, **values})
    header = ["False positive rate", *(f"{who}: true positive rate" for who in values)]
    return chart + table(header, rows)


def _decisions(facts: Facts) -> str:
    """What is decided at each model's threshold, and what that is worth."""
    parts = _matrix(facts.get("matrix"))
    rows = [
        [
            who,
            f"{c['threshold']:g}",
            f"{c['true_positive']:,}",
            f"{c['false_positive']:,}",
            f"{c['false_negative']:,}",
            f"{c['true_negative']:,}",
        ]
        for who, c in (facts.get("confusion") or {}).items()
    ]
    if rows:
        header = ["Model", "Threshold", "True positive", "False positive"]
        parts.append(table([*header, "False negative", "True negative"], rows))
    if test := facts.get("mcnemar"):
        surely = "a difference" if test["p"] < 0.05 else "no significant difference"
        parts.append(
            f"Only the champion is right on {test['only_champion_right']:,} rows, only "
            f"the challenger on {test['only_challenger_right']:,}: {surely} "
            f"({_test(facts)}, p = {test['p']:.2g})."
        )
    if worth := facts.get("business"):
        parts.append(_worth(worth))
    return "\n\n".join(parts)


def _test(facts: Facts) -> str:
    """Name the test; by entity it is of what each won and lost."""
    return f"McNemar's exact test{by(facts).rstrip(',')}"


def _worth(worth: Facts) -> str:
    """What the decisions are worth, and what another threshold would bring."""
    unit = text(worth["unit"], 30)
    words = f"Worth {worth['challenger']:,.0f} {unit} per {worth['per']:,} decisions"
    if worth.get("champion") is not None:
        words += (
            f" (champion {worth['champion']:,.0f}, difference "
            f"{worth['difference']:+,.0f}, interval {interval(worth, 0)})"
        )
    best = f"{worth['best']:,.0f}"
    if "shift" in worth:
        return (
            f"{words}. On these rows, {worth['shift']:+.4g} to every answer would be "
            f"worth most, {best}."
        )
    if "expected" in worth:
        return (
            f"{words}. Deciding by the worth that is expected, not by the likeliest "
            f"class, would be worth {best}."
        )
    return (
        f"{words}. On these rows the threshold {worth['best_threshold']:.3f} would be "
        f"worth most, {best}; it is {worth['threshold']:g}."
    )


def _matrix(found: Mapping[str, Facts] | None) -> list[str]:
    """What is decided for each true class; of many classes, what is mixed up most."""
    parts = []
    for who, matrix in (found or {}).items():
        classes, cells = matrix["classes"], matrix["cells"]
        if len(classes) <= MATRIX:
            rows = [
                [code(name), *(f"{count:,}" for count in row)]
                for name, row in zip(classes, cells, strict=True)
            ]
            head = [f"{who}: true class", *(f"→ {code(name)}" for name in classes)]
            parts.append(table(head, rows))
            continue
        mixed = sorted(
            (-count, classes[a], classes[b])
            for a, row in enumerate(cells)
            for b, count in enumerate(row)
            if a != b and count
        )
        rows = [[code(a), code(b), f"{-n:,}"] for n, a, b in mixed[:MIXED]]
        head = [f"{who}: true class", "decided", "Rows"]
        parts.append(f"Mixed up most:\n\n{table(head, rows)}")
    return parts


def _residuals(found: Mapping[str, Sequence[Facts]] | None) -> str:
    """The truth minus the answer, by the answer: both models, drawn and as a table."""
    if not found:
        return ""
    count = min(map(len, found.values()))
    values = {who: [row["mean"] for row in rows][:count] for who, rows in found.items()}
    labels = [f"{n + 1} of {count}" for n in range(count)]
    axes = ("Left over", "rows by their answer, lowest first", "truth minus answer")
    chart = charts.lines(*axes, labels, {"ideal": [0.0] * count, **values})
    rows = [
        [
            who,
            f"{row['low']:.4g} to {row['high']:.4g}",
            f"{row['rows']:,}",
            f"{row['mean']:+.4g}",
            f"{row['p10']:+.4g} to {row['p90']:+.4g}",
        ]
        for who, each in found.items()
        for row in each
    ]
    header = ["Model", "Answer", "Rows", "Mean left over", "10 % to 90 %"]
    return (chart if count > 1 else "") + table(header, rows)


def _slices(found: Facts | None) -> str:
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


def _fairness(found: Sequence[Facts] | None) -> str:
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


def _changes(found: Facts | None) -> str:
    """What the data has that the champion's had not."""
    if found is None:
        return ""
    if found["same"]:
        return "None: both models come from the same table."
    if "rows" not in found:
        return "Not known: the champion's data is not in storage, or fits no more."
    rows = found["rows"]
    words = (
        f"{rows['champion']:,} rows became {rows['challenger']:,}: {rows['added']:,} "
        f"added, {rows['removed']:,} removed, {rows['changed']:,} changed. "
        f"{_target(found['target'])}\n\n"
    )
    cells = [
        [
            code(column["column"]),
            number(column["distance"]),
            " → ".join(f"{share:.1%}" for share in column["missing"]),
            _fresh(column),
        ]
        for column in sorted(found["columns"], key=lambda c: -(c["distance"] or 0))
    ]
    return words + table(["Column", "Distance", "Missing", "New categories"], cells)


def _target(found: Any) -> str:
    """How the target went: its rate, its mean and spread, or its classes' shares."""
    if isinstance(found, list):
        old, new = found
        return f"The rate of the target went from {old:.1%} to {new:.1%}."
    if "mean" in found:
        (old, new), (spread, wide) = found["mean"], found["spread"]
        return (
            f"The mean of the target went from {old:.4g} to {new:.4g}, its spread from "
            f"{spread:.4g} to {wide:.4g}."
        )
    most = sorted(found["classes"], key=lambda row: -abs(row[2] - row[1]))[:MIXED]
    shares = ", ".join(f"{code(n)} {old:.1%} → {new:.1%}" for n, old, new in most)
    return f"The shares of the target: {shares}."


def _fresh(column: Facts) -> str:
    """Return the categories that a column has newly."""
    count = column.get("new_count", 0)
    named = ", ".join(map(code, column["new"]))
    return f"{count}: {named}" if named else str(count or "none")


def _importance(facts: Facts) -> str:
    """How much the headline falls when a column is shuffled, largest first."""
    rows = [
        [
            code(row["column"]),
            *(_fall(row.get(who)) for who in ("champion", "challenger")),
        ]
        for row in facts.get("importance") or []
    ]
    if not rows:
        return ""
    words = f"Fall of {_label(facts)} when a column is shuffled: "
    words += "mean, least to most.\n\n"
    return words + table(["Column", "Champion", "Challenger"], rows)


def _fall(values: Sequence[float] | None) -> str:
    """Return a column's importance, or that the model does not have it."""
    if values is None:
        return "not used"
    mean, least, most = values
    return f"{mean:.4f} ({least:.4f} to {most:.4f})"


def _dependence(found: Sequence[Facts] | None) -> str:
    """The mean answer with a column set to each of a few values."""
    parts = []
    for row in found or []:
        sides = [who for who in ("champion", "challenger") if row.get(who)]
        cells = [
            [code(place), *(_answer(row[who][n]) for who in sides)]
            for n, place in enumerate(row["places"])
        ]
        of = [f"{who}: {code(row['of'])}" for who in sides] if "of" in row else sides
        parts.append(table([code(row["column"]), *of], cells))
    words = "Mean answer with the column set to a value, all else as it is.\n\n"
    return words + "\n\n".join(parts) if parts else ""


def _flips(found: Sequence[Facts] | None) -> str:
    """A few rows that the models decide differently, with what moved the challenger."""
    rows = [
        [
            _answer(flip["champion"]),
            _answer(flip["challenger"]),
            _truth(flip["truth"]),
            ", ".join(f"{code(f'{n} = {v}')} {m:+.3f}" for n, v, m in flip["reasons"]),
        ]
        for flip in found or []
    ]
    header = ["Champion", "Challenger", "Truth", "What moved the challenger"]
    return table(header, rows) if rows else ""


def _answer(value: Any) -> str:
    """Return an answer for people: a number, or a class and its probability."""
    if isinstance(value, list):
        return f"{code(value[0])} {value[1]:.3f}"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:,.1f}"


def _truth(value: Any) -> str:
    """Return a truth for people: 0 or 1, a class, or a number."""
    if isinstance(value, str):
        return code(value)
    return str(value) if isinstance(value, int) else _answer(value)


def _replay(facts: Facts) -> str:
    """How many decisions would flip, which way, for whom."""
    found = facts.get("replay")
    if found is None or "why" in found:
        why = found["why"] if found else facts.get("unplayed")
        return f"Not known: {text(why, 300)}." if why else ""
    words = (
        f"Of the newest {found['requests']:,} requests (until {text(found['until'])}), "
        f"{_moved(found)}"
    )
    moved = "change" in found
    rows = [
        [
            f"{code(g['column'])} {code(g['value'])}",
            f"{g['requests']:,}",
            *([] if moved else [f"{g['flips']:,.0f}"]),
            _answer(g["flips"] / g["requests"])
            if moved
            else f"{g['flips'] / g['requests']:.1%}",
        ]
        for g in found["groups"]
    ]
    header = ["Who is affected most", "Requests"]
    header += ["Mean change, either way"] if moved else ["Flips", "Share"]
    return f"{words}\n\n{table(header, rows)}" if rows else words


def _moved(found: Facts) -> str:
    """How the two models' decisions on the same requests differ."""
    count = found["requests"]
    if "change" in found:
        (mean, middle, most), (old, new) = found["change"], found["mean"]
        return (
            f"{found['up']:,} would be answered higher and {found['down']:,} lower: by "
            f"{mean:+.4g} on average, half of them by more than {middle:.4g}, one in "
            f"ten by more than {most:.4g}. The mean answer goes {old:.4g} → {new:.4g}."
        )
    if "moves" in found:
        flips, moves = found["flips"], found["moves"]
        which = ", ".join(f"{n:,} from {code(a)} to {code(b)}" for a, b, n in moves)
        shares = ", ".join(
            f"{code(name)} {old:.1%} → {new:.1%}"
            for name, old, new in found["shares"][:MIXED]
        )
        return (
            f"{flips:,} ({flips / count:.1%}) would be decided otherwise"
            f"{': ' if moves else ''}{which}. Decided are {shares}."
        )
    flips, (old, new) = found["to_yes"] + found["to_no"], found["yes"]
    return (
        f"{flips:,} ({flips / count:.1%}) would be decided otherwise: "
        f"{found['to_yes']:,} from no to yes, {found['to_no']:,} from yes to no. Yes "
        f"is said to {old:.1%} → {new:.1%}."
    )


def _footprint(found: Mapping[str, Facts] | None) -> str:
    """How long one row takes, and how large the file is."""
    rows = [
        [who, f"{f['p50_ms']:.3f}", f"{f['p99_ms']:.3f}", f"{f['megabytes']:.3f}"]
        for who, f in (found or {}).items()
    ]
    header = ["Model", "p50, ms", "p99, ms", "Size, MB"]
    return table(header, rows) if rows else ""


def pairs(found: Mapping[str, object] | None) -> str:
    """Names and values as a table."""
    rows = [[text(key), code(value, 200)] for key, value in (found or {}).items()]
    return table(["What", "Value"], rows) if rows else ""


def _params(params: Sequence[Sequence[object]] | None) -> str:
    """Name, champion's value, challenger's value."""
    rows = [
        [code(n), *(code(_plain(v), 300) for v in pair)] for n, *pair in params or []
    ]
    return table(["Setting", "Champion", "Challenger"], rows) if rows else ""


def _plain(value: object) -> object:
    """Return a list of settings as people write one."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _last(facts: Facts) -> str:
    """Return the title of the last section."""
    return "Reproduce this" + (", or overrule it" if facts.get("override") else "")


def _reproduce(facts: Facts) -> str:
    """One command."""
    if not facts.get("pull_request"):
        return "```sh\nmake repro validate\n```"
    number = int(facts["pull_request"])
    over = ""
    if facts.get("override"):
        model = str(facts.get("manifest_sha256"))[:12]
        over = (
            "\n\nTo let this model pass all the same, with the reason recorded under "
            "your name:\n\n```sh\ngh workflow run validate.yml "
            f'-f pull_request={number} -f manifest={model} -f reason="..."\n```'
        )
    fetch = f"git fetch origin refs/pull/{number}/head && git checkout FETCH_HEAD"
    return f"```sh\n{fetch} && make setup repro validate\n```" + over
