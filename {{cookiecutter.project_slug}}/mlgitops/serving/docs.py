"""The description as a page, /docs; standard library only.

What is absent: scripts, fonts, pictures, anything from another address. The page works
with the keyboard alone, as it has links and details only, and on a phone.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from typing import Any

from mlgitops.serving.schemas import Schema

CSS = """\
:root{color-scheme:light dark;--ink:#1f2328;--soft:#59636e;--paper:#fff;--rule:#d1d9e0;\
--link:#0969da;--tint:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--paper:#0d1117;\
--rule:#3d444d;--link:#4493f8;--tint:#151b23}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);\
font:16px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 20px 64px;overflow-wrap:anywhere}
h1{margin:0 0 8px;font-size:28px;line-height:1.25}
h2{margin:40px 0 8px;padding-top:16px;border-top:1px solid var(--rule);font-size:21px}
.wide{overflow-x:auto;margin:12px 0}
table{border-collapse:collapse;min-width:100%}
th,td{border:1px solid var(--rule);padding:5px 12px;text-align:left;vertical-align:top}
th{background:var(--tint);overflow-wrap:normal}
td:last-child{min-width:16ch}
td:first-child,td:nth-child(2){overflow-wrap:normal}
code{font:85%/1.4 ui-monospace,monospace;background:var(--tint);padding:.15em .35em;\
border-radius:4px}
pre{background:var(--tint);padding:12px;overflow-x:auto;margin:8px 0}
pre code{padding:0;background:none}
details{border-top:1px solid var(--rule);padding:8px 0}
summary{cursor:pointer;font-weight:600;padding:4px 0}
@media(max-width:480px){th,td{padding:5px 6px}td:last-child{min-width:9ch}}
a{color:var(--link)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
"""
HASH = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>{css}</style></head>
<body><main>
{body}
</main></body></html>
"""


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a description."""
    info, paths = document["info"], document["paths"]
    title = f"{info['title']} {info['version']}"
    operations = [
        (path, method, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "head"
    ]
    rows = [
        [
            f'<a href="#{escape(operation["operationId"])}">'
            f"{_code(f'{method.upper()} {path}')}</a>",
            escape(operation["summary"]),
        ]
        for path, method, operation in operations
    ]
    schemas = document["components"]["schemas"]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_prose(info['description'])}</p>",
        f"<p>Version: {_code(info['x-manifest-sha256'])} (sha256 of its manifest). "
        'For programs: <a href="openapi.json">openapi.json</a>.</p>',
        _table(["Path", "What it does"], rows),
        *(_operation(*operation) for operation in operations),
        *(_schema(name, schema) for name, schema in schemas.items()),
    ]
    return PAGE.format(title=escape(title), css=CSS, body="\n".join(parts))


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    """Return the section of one method of a path."""
    parts = [
        f'<h2 id="{escape(operation["operationId"])}">'
        f"{_code(f'{method.upper()} {path}')}</h2>",
        f"<p>{escape(operation['summary'])} {_prose(operation.get('description', ''))}"
        "</p>",
    ]
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Takes {_code(kind)}: {_type(media['schema'])}</p>")
        parts += _examples("Example of a request", media)
    rows = []
    for status, response in operation["responses"].items():
        kinds = response.get("content", {}).items()
        bodies = [f"{_code(kind)}: {_type(m['schema'])}" for kind, m in kinds]
        text = escape(response["description"])
        rows.append([_code(status), "<br>".join(bodies) or "no body", text])
    parts.append(_table(["Status", "Body", "When"], rows))
    for response in operation["responses"].values():
        for media in response.get("content", {}).values():
            parts += _examples("Example of a response", media)
    for sample in operation.get("x-codeSamples", ()):
        parts.append(_details(f"Client: {sample['label']}", sample["source"]))
    return "\n".join(parts)


def _examples(title: str, media: Mapping[str, Any]) -> list[str]:
    """Return the examples of a body, to be opened."""
    values = [example["value"] for example in media.get("examples", {}).values()]
    return [_details(title, json.dumps(value, indent=1)) for value in values]


def _details(title: str, text: str) -> str:
    """Return a text that opens below its title; a wide one scrolls by keyboard too."""
    return (
        f'<details><summary>{escape(title)}</summary><pre tabindex="0"><code>'
        f"{escape(text)}</code></pre></details>"
    )


def _schema(name: str, schema: Schema) -> str:
    """Return the section of one schema."""
    head = f'<h2 id="schema-{escape(name)}">{escape(name)}</h2>'
    if "properties" not in schema:
        return f"{head}\n<p>{_type(schema)}</p>"
    needed = schema.get("required", ())
    rows = [
        [
            _code(key),
            _type(entry),
            "yes" if key in needed else "no",
            escape(entry.get("description", "")),
        ]
        for key, entry in schema["properties"].items()
    ]
    return f"{head}\n{_table(['Field', 'Type', 'Required', 'About'], rows)}"


BOUNDS = {  # of a schema, and the same in words
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "above {}",
    "exclusiveMaximum": "below {}",
    "minLength": "{} or more characters",
    "maxLength": "at most {} characters",
    "minItems": "{} or more",
    "maxItems": "at most {}",
}


def _type(schema: Schema) -> str:
    """Say a schema in words, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "const" in schema:
        return _code(json.dumps(schema["const"]))
    if "enum" in schema:
        return "one of " + ", ".join(_code(json.dumps(v)) for v in schema["enum"])
    kinds = schema.get("type", "anything")
    label = escape(kinds if isinstance(kinds, str) else " or ".join(kinds))
    bounds = [w.format(_bound(schema[k])) for k, w in BOUNDS.items() if k in schema]
    if "pattern" in schema:
        bounds.append("ISO 8601")
    label += f" ({escape(', '.join(bounds))})" if bounds else ""
    if "items" in schema:
        label += f" of {_type(schema['items'])}"
    return label


def _bound(number: float) -> str:
    """Return a bound as short as can be."""
    is_short = isinstance(number, int) and abs(number) < 1e15
    return f"{number:,}" if is_short else f"{number:.6g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table of cells that are HTML; a wide one scrolls by keyboard too."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    cells = ("".join(f"<td>{cell}</td>" for cell in row) for row in rows)
    lines = "\n".join(f"<tr>{row}</tr>" for row in cells)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(head[0])}">'
        f"<table><thead><tr>{names}</tr></thead>\n<tbody>{lines}</tbody></table></div>"
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Return a sentence whose `names` are code."""
    parts = map(escape, text.split("`"))
    return "".join(f"<code>{p}</code>" if n % 2 else p for n, p in enumerate(parts))
