"""The description of the server says what the server does; its clients run."""

import ast
import asyncio
import http.client
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from machinery import described, tiny
from mlgitops.serving import docs, examples, openapi, operations, rows, schemas
from mlgitops.serving.app import App
from mlgitops.serving.model import Model
from mlgitops.serving.rows import RowError

TASKS = [(task, beside) for task in described.OUTPUTS for beside in (False, True)]
FLIGHTS = Path("contract.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return described.version(tmp_path_factory.mktemp("awkward"))


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    with tiny.server(folder, "--version", "v1.2.0") as (port, _):
        yield port


def get(port: int, path: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer, answer.read()


def whole(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Return a validator of one schema of a document."""
    import jsonschema  # four CPU seconds, in the one process that needs it

    return jsonschema.Draft202012Validator(
        schema | {"components": document["components"]}
    )


def test_every_path_of_the_server_is_described(folder: Path) -> None:
    """And what is described is a path, with its methods."""
    paths = openapi.document(openapi.from_folder(folder))["paths"]
    routes = App(Model(folder)).routes
    assert set(paths) == set(routes), "describe a path in openapi.py"
    for path, route in routes.items():
        assert {m.upper() for m in paths[path]} == set(route.methods), path


def test_the_server_serves_the_bytes_of_the_file(port: int, folder: Path) -> None:
    """As the command writes it, whatever the process."""
    answer, body = get(port, "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    command = (sys.executable, "-m", "mlgitops", "openapi", str(folder))
    written = subprocess.check_output((*command, "--version", "v1.2.0"))
    assert body == written == openapi.text(openapi.from_folder(folder, "v1.2.0"))
    done = subprocess.run(
        (*command[:-1], str(folder / "none")), capture_output=True, text=True
    )
    assert done.returncode and "make repro" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_is_openapi_with_unique_names_and_sound_schemas(folder: Path) -> None:
    import jsonschema

    document = openapi.document(openapi.from_folder(folder))
    assert document["openapi"] == "3.1.0"
    operations = [
        operation for item in document["paths"].values() for operation in item.values()
    ]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = json.dumps(document)
    known = document["components"]["schemas"]
    assert {n for n in re.findall(r'"#/components/schemas/(\w+)"', text)} <= set(known)


@pytest.mark.parametrize(("task", "beside"), TASKS)
def test_examples_are_what_the_model_says(
    task: str, beside: bool, tmp_path: Path
) -> None:
    described.version(tmp_path, described.AWKWARD.replace("[born]", "[]"), task, beside)
    version, model = openapi.from_folder(tmp_path), Model(tmp_path)
    body, expected = examples.body(version), examples.response(version)
    assert expected is not None
    predictions = model.predictions(body["rows"], [r["row_id"] for r in body["rows"]])
    assert expected["predictions"] == predictions
    document = openapi.document(version)
    schemas_ = document["components"]["schemas"]
    whole(document, schemas_["Rows"]).validate(body)
    whole(document, schemas_["Predictions"]).validate(expected)
    whole(document, schemas_["Predictions"]).validate(json.loads(json.dumps(expected)))


def test_what_is_sensitive_is_in_no_example(folder: Path) -> None:
    version = openapi.from_folder(folder)
    (row,) = examples.body(version)["rows"]
    assert row["born"] is None and version.manifest["golden"][0]["row"]["born"]
    assert examples.response(version) is None, "it would be another row's"


GOOD: dict[str, list[Any]] = {
    "row_id": ["a", 7, 7.0, -(10**198), "x" * 200, None],
    "row_time": ["2013-04-01T12:00:00Z", "2013-04-01", None, "2012-02-29 23:59-05:00"],
    "id": [0, 16777216, -16777216, 5.0, 1000],
    "time": ["now", "never seen", "", None, "x" * 256, "\0|`\n"],
    "a b'\"\\/<script>&amp;{x}": [0, 1e9, -3.4e38, 3.40282356e38, 1e-300, 5],
    "": [0, None],
    "__proto__": [True, False],
    "größe\n`漢字`": [True, None],
    "kind": ["$(id)", "other", "漢"],
    "whole": [None, -3],
    "seen": [
        *("1701-01-01T00:00:00+23:59", "2198-12-31T23:59:59.999999-23:59"),
        *("2000-02-29", "2020-02-29T00:00", "2013-04-01T12:00:00+0530"),
    ],
    "born": [None, "1999-12-31 23:59:59.5Z"],
    "note": ["x" * 40, " "],
    "more": ["", None, "漢" * 5],
}
BAD: dict[str, list[Any]] = {
    "row_id": ["", True, "x" * 201, 10**200, -(10**199), 1.5, 1e201],
    "row_time": ["yesterday", 5, True, "", "2013-02-30T00:00"],
    "id": [None, 1.5, 16777217, "1", True],
    "time": [5, "x" * 257, False],
    "a b'\"\\/<script>&amp;{x}": [None, "1", True, 3.41e38, 10**39, -1e300],
    "": [True, ""],
    "__proto__": [1, 0, "true", None],
    "größe\n`漢字`": [1, "x"],
    "kind": ["", None, 5, "x" * 257],
    "whole": [0.5, "x"],
    "born": ["", "2013-04-01T12:00:00 Z"],
    "seen": [
        *(None, 5, "", "2013-02-29", "1900-02-29", "2013-13-01", "2013-04-31"),
        *("2013-04-01T24:00", "2013-04-01T12", "2013-04-01T12:00:60Z", "20130401"),
        *("1699-12-31", "2200-01-01", "2013-04-01T12:00+24:00", "2013-W14-1", " "),
    ],
    "note": ["", None, "x" * 41],
    "more": ["x" * 6, 5],
    "another": [1, None],
}


def changes() -> Iterator[tuple[str, Any, bool]]:
    for table, good in ((GOOD, True), (BAD, False)):
        for name, values in table.items():
            yield from ((name, value, good) for value in values)


def test_a_row_is_valid_where_the_server_takes_it(folder: Path) -> None:
    """Value by value: the schema and `rows.py` say the same."""
    version, model = openapi.from_folder(folder), Model(folder)
    document = openapi.document(version)
    valid = whole(document, operations.ref("Row")).is_valid
    base = version.manifest["golden"][0]["row"]
    assert set(GOOD) == set(document["components"]["schemas"]["Row"]["properties"])
    for name, value, good in changes():
        row = base | {name: value}
        try:
            rows.metadata(0, row, model.id, model.time)
            model.predict([row])
            taken = True
        except RowError:
            taken = False
        assert (taken, valid(row)) == (good, good), (name, value)
    for name, entry in model.columns.items():  # each absent in its turn
        row = {key: value for key, value in base.items() if key != name}
        assert valid(row) is entry.missing
    assert (schemas.MAX_ID, schemas.MAX_INTEGER) == (rows.MAX_ID, rows.WHOLE)


def test_without_a_time_no_row_has_one(tmp_path: Path) -> None:
    text = re.sub("time: moment\n", "", described.AWKWARD)
    version = openapi.from_folder(described.version(tmp_path, text))
    properties = schemas.row(version)["properties"]
    assert "row_id" in properties and "row_time" not in properties
    assert "row_time" not in examples.body(version)["rows"][0]


def test_responses_are_what_their_schemas_say(port: int, folder: Path) -> None:
    """Of each path; whatever the server adds to one has to be described."""
    document = json.loads(get(port, "/openapi.json")[1])
    for path, item in document["paths"].items():
        if "get" in item:
            answer, body = get(port, path)
            ((kind, media),) = item["get"]["responses"]["200"]["content"].items()
            assert answer.status == 200
            assert answer.headers["content-type"].split(";")[0] == kind
            said = json.loads(body) if kind == operations.JSON else body.decode()
            whole(document, media["schema"]).validate(said)
    ready = document["paths"]["/health/ready"]["get"]["responses"]
    names = [str(ready[status]["content"]) for status in ("500", "503")]
    assert ["Error" in names[0], "Reason" in names[1]] == [True, True]
    refused = {
        400: b"[", 422: {"rows": [{}]}, 413: {"rows": [{}] * 1_001}
    }  # fmt: skip
    example = examples.body(openapi.from_folder(folder))
    posts = [("/predict", status, data) for status, data in refused.items()]
    posts += [("/predict", 200, example), ("/explain", 200, example)]
    for path, status, data in posts:
        given, said = tiny.call(port, path, data)
        assert given == status, said
        assert status != 200 or said["version"] == "v1.2.0"
        answers = document["paths"][path]["post"]["responses"][str(status)]
        whole(document, answers["content"][operations.JSON]["schema"]).validate(said)


def test_without_a_model_there_is_no_description() -> None:
    """It would be of no version."""
    app = App(None, "model.onnx is missing.")
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    for path in ("/openapi.json", "/docs"):
        scope = {"type": "http", "method": "GET", "path": path, "headers": []}
        asyncio.run(app(scope, receive, send))
        start, body = sent[-2:]
        assert start["status"] == 503
        assert json.loads(body["body"]) == {"error": "model.onnx is missing."}


class Page(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_names_everything_and_runs_nothing(port: int, folder: Path) -> None:
    answer, body = get(port, "/docs")
    page, document = Page(body.decode()), openapi.document(openapi.from_folder(folder))
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "b", "form", "object"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#")[0] in "#o", "nothing of elsewhere"
    ids = [a["id"] for _, a in page.tags if "id" in a]
    targets = {a["href"] for _, a in page.tags if "href" in a} - {"openapi.json"}
    assert (
        len(ids) == len(set(ids)) and targets == {f"#{name}" for name in ids} & targets
    )
    assert targets <= {f"#{name}" for name in ids}
    names = document["components"]["schemas"]["Row"]["properties"]
    for name in (*document["paths"], *names, "422", "503"):
        assert name in page.words, name
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and docs.HASH in policy
    assert f"<style>{docs.CSS}</style>" in body.decode()


def run(client: str, source: str, port: int) -> Any:
    """Run a client of the description against a server; return what it printed."""
    source = source.replace(":8080", f":{port}")
    if client == "curl":
        done = subprocess.run(("bash", "-c", source), capture_output=True, text=True)
    else:
        program = sys.executable if client == "Python" else "node"
        done = subprocess.run(
            (program, "-"), input=source, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("client", ["curl", "Python", "JavaScript"])
def test_a_client_gets_the_prediction(client: str, port: int, folder: Path) -> None:
    """Of a row whose names and values would break out of careless quotes."""
    program = {"JavaScript": "node", "curl": "curl"}.get(client)
    if program and not shutil.which(program):
        pytest.skip(f"there is no {program}, which .ci/run installs")
    version = openapi.from_folder(folder)
    sources = {each["label"]: each["source"] for each in examples.clients(version)}
    printed = run(client, sources[client], port)
    if client == "curl":
        (found,) = json.loads(printed)["predictions"]
    elif client == "Python":
        found = ast.literal_eval(printed)
    else:
        assert "id: 'example-1'" in printed and "decision: false" in printed
        assert "probability: 0.25" in printed
        return
    assert found == {"id": "example-1", "probability": 0.25, "decision": False}


def test_the_clients_of_the_readme_get_the_prediction(tmp_path: Path) -> None:
    """As long as the example is there, whose row they send."""
    text = Path("README.md").read_text(encoding="utf-8")
    (block,) = re.findall("```\n([^`]*curl[^`]*)```", text)
    if not (found := re.search(r"echo '([^']+)' > build/row.json", block)):
        pytest.skip("README was made for a table: its request is of the manifest")
    folder = described.version(tmp_path / "build", FLIGHTS)
    document = openapi.document(openapi.from_folder(folder))
    whole(document, operations.ref("Rows")).validate(json.loads(found[1]))
    programs = [line.split()[0] for line in block.splitlines()]
    assert programs == ["echo", "curl", "python", "node"]
    assert not shutil.which("node") or shutil.which("curl"), "as .ci/run installs"
    lines = [line for line in block.splitlines() if shutil.which(line.split()[0])]
    with tiny.server(folder) as (port, _):
        typed = " && echo && ".join(lines).replace(":8080", f":{port}")
        command = ("bash", "-c", typed.replace("curl", "curl -sf"))
        printed = subprocess.check_output(command, cwd=tmp_path, text=True)
    answers = [json.loads(line) for line in printed.splitlines() if line]
    assert len(answers) == len(lines) - 1 >= 2
    assert all(answer == answers[0] for answer in answers)
    (prediction,) = answers[0]["predictions"]
    assert (prediction["id"], prediction["probability"]) == ("a", 0.25)
