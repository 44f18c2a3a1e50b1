"""The form of the page: one field for each column of the contract, as HTML.

It is filled with typical values, so that a prediction is one key away: the median or
the most common value of the golden rows, never a row as it is, and nothing of a
sensitive column or a text. Names and categories may be any text; each is escaped here.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from html import escape
from math import inf
from typing import Any

from mlgitops.prediction_log import moment
from mlgitops.serving.explain import REFERENCE
from mlgitops.serving.model import Model

Column = Mapping[str, Any]
HINTS = {
    "number": "A number",
    "integer": "A whole number",
    "boolean": "True or false",
    "category": "A category",
    "datetime": "A time in UTC",
    "text": "Text",
}


def form(model: Model) -> str:
    """Return the form's fields; columns that the model does not use come last."""
    columns, shown = model.contract["columns"], typical(model)
    used = [name for name in columns if name in model.inputs]
    unused = [name for name in columns if name not in model.inputs]
    fields = {
        name: field(f"column-{number}", name, column, shown.get(name, ""))
        for number, (name, column) in enumerate(columns.items())
    }
    parts = ['<div class="fields">', *(fields[name] for name in used), "</div>"]
    if unused:
        parts += [
            f"<details><summary>Columns that this model does not use ({len(unused)})",
            '</summary><div class="fields">',
            *(fields[name] for name in unused),
            "</div></details>",
        ]
    return "\n".join(parts)


def field(key: str, name: str, column: Column, value: str) -> str:
    """Return one labelled field with its hint and a line for its error."""
    attributes = [f'data-column="{escape(name)}"', f'data-type="{column["type"]}"']
    if column["missing"]:
        attributes.append("data-missing")
    else:
        attributes.append('aria-required="true"')
    for bound in ("min", "max"):
        if bound in column:
            attributes.append(f'data-{bound}="{_number(column[bound])}"')
    attributes.append(f'id="{key}" aria-describedby="{key}-hint {key}-error"')
    return (
        f'<div class="field"><label for="{key}" dir="auto">{escape(name)}</label>'
        f"{_control(' '.join(attributes), key, name, column, value)}"
        f'<p class="hint" id="{key}-hint">{escape(_hint(column))}</p>'
        f'<p class="error" id="{key}-error" hidden></p></div>'
    )


def _control(attributes: str, key: str, name: str, column: Column, value: str) -> str:
    """Return what is typed into, or chosen from."""
    kind = column["type"]
    plain = 'autocomplete="off" autocapitalize="off" spellcheck="false"'
    if kind == "text":
        return f'<textarea {attributes} {plain} rows="3"></textarea>'
    if kind == "datetime":
        shown = escape(value)
        return f'<input {attributes} type="datetime-local" step="1" value="{shown}">'
    if kind == "boolean":
        return _select(attributes, ["true", "false"], column["missing"], value)
    if kind == "category":
        custom = (
            f'<input class="other" id="{key}-other" hidden {plain} '
            f'aria-label="Another value of {escape(name)}" '
            f'aria-describedby="{key}-error">'
        )
        categories = [str(category) for category in column["categories"]]
        return (
            _select(attributes, categories, column["missing"], value, more=True)
            + custom
        )
    keys = "decimal" if kind == "number" else "numeric"
    positive = column.get("min", -inf) >= 0  # such a keyboard may have no minus
    mode = f'inputmode="{keys}" ' if positive else ""
    return f'<input {attributes} {plain} {mode}value="{escape(value)}">'


def _select(
    attributes: str, values: list[str], missing: bool, value: str, more: bool = False
) -> str:
    """Return a choice of values; `more` adds one that is typed."""
    options = []
    if missing or value not in values:
        empty = "(missing)" if missing else "Choose"
        options.append(f'<option value="" data-empty>{empty}</option>')
    for text in values:
        chosen = " selected" if text == value else ""
        shown = escape(text)
        options.append(f'<option value="{shown}"{chosen}>{shown}</option>')
    if more:
        options.append('<option value="" data-other>(another value)</option>')
    return f"<select {attributes}>{''.join(options)}</select>"


def _hint(column: Column) -> str:
    """Say what a field takes."""
    kind = column["type"]
    parts = [HINTS[kind]]
    low, high = column.get("min"), column.get("max")
    if low is not None and high is not None:
        parts.append(f"{_number(low)} to {_number(high)}")
    elif low is not None or high is not None:
        bound = f"at least {_number(low)}" if high is None else None
        parts.append(bound or f"at most {_number(high)}")
    if kind == "category":
        count = len(column["categories"])
        parts = [f"One of {count} categories" if count > 1 else "One category"]
    if kind == "text" and "max_length" in column:
        parts.append(f"at most {column['max_length']} characters")
    if column["missing"]:
        parts.append("may be missing" if kind == "category" else "may be empty")
    return ", ".join(parts)


def _number(value: Any) -> str:
    """Return a bound as people write it."""
    return f"{float(value):.10g}"


def typical(model: Model) -> dict[str, str]:
    """Return what each field is filled with, by column; none where nothing fits."""
    rows = [entry["row"] for entry in model.manifest["golden"][:REFERENCE]]
    hidden, defaults = {*model.contract.get("sensitive", [])}, {}
    for name, column in model.contract["columns"].items():
        values = [row[name] for row in rows if row.get(name) not in (None, "")]
        if name not in hidden and 2 * len(values) > len(rows):
            defaults[name] = _middle(values, column["type"])
    return defaults


def _middle(values: list[Any], kind: str) -> str:
    """Return the median or the most common of some values, as a field has it."""
    if kind == "text":
        return ""
    if kind == "datetime":
        time = sorted(map(moment, values))[len(values) // 2]
        return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    if kind in ("category", "boolean"):
        texts = [str(v).lower() if kind == "boolean" else str(v) for v in values]
        return Counter(sorted(texts)).most_common(1)[0][0]
    return f"{sorted(values)[len(values) // 2]:.6g}"
