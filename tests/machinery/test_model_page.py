"""The server's page: everything of the contract is on it, and nothing of it runs.

What a person does is done in a real browser, with the keyboard, where there is one.
"""

import asyncio
import base64
import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from machinery import tiny
from machinery.test_explain import FREE, ask, send
from mlgitops.serving import form, page
from mlgitops.serving.__main__ import parse
from mlgitops.serving.app import App
from mlgitops.serving.health import health
from mlgitops.serving.metrics import Counts
from mlgitops.serving.model import Model
from mlgitops.serving.reasons import Reason
from mlgitops.serving.routes import RefusalError

EVIL = "</script><b onclick=alert(1)>\"'&amp;`${1}` <img src=x onerror=alert(2)>"
SEEN = "\u202eright \U0001f44d \u00fc"
COLUMNS: dict[str, Any] = {
    EVIL: {"type": "category", "categories": ["UA", EVIL, SEEN, ""], "missing": False},
    "__proto__": {"type": "number", "min": 0, "max": 6000, "missing": False},
    SEEN: {"type": "number", "min": -60, "max": 130, "missing": True},
    "whole": {"type": "integer", "max": 9, "missing": False},
    "flag": {"type": "boolean", "missing": False},
    "maybe": {"type": "boolean", "missing": True},
    "when": {"type": "datetime", "missing": False},
    "words": {"type": "text", "max_length": 50, "missing": True},
    "secret": {"type": "category", "categories": ["SECRET"], "missing": False},
}
CONTRACT = {"name": EVIL, "task": "binary", "target": EVIL, "sensitive": ["secret"]}
ROW = {EVIL: EVIL, "__proto__": 900.0, SEEN: None, "whole": 3, "flag": True}
ROW |= {"maybe": None, "words": "PRIVATE", "secret": "SECRET"}
ROW |= {"when": "2013-04-01T12:30:00+02:00"}


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str, key: str) -> list[str | None]:
        return [a[key] for name, a in self.tags if name == tag and key in a]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A version whose names are as hostile as they are allowed to be."""
    path, text = tmp_path_factory.mktemp("model"), CONTRACT | {"columns": COLUMNS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "CONTRACT", yaml.safe_dump(text, sort_keys=False))
        z = 0.001 * 900 - 2
        golden = [{"row": ROW, "probability": 1 / (1 + 2.718281828459045**-z)}] * 3
        tiny.version(path, name=EVIL, columns=[*COLUMNS][:3], golden=golden)
    yield path


@pytest.fixture(scope="module")
def app(folder: Path) -> App:
    return App(Model(folder), version=EVIL, reasons=FREE)


def opened(app: App, path: str = "/") -> tuple[int, dict[bytes, bytes], str]:
    status, headers, body = asyncio.run(send(app, path, b"", "GET"))
    return status, headers, body.decode()


def test_the_page_has_every_column_as_it_is(app: App) -> None:
    status, headers, text = opened(app)
    assert status == 200 and headers[b"content-type"].startswith(b"text/html")
    tags = Tags(text)
    named = [a for _, a in tags.tags if "data-column" in a]
    assert [a["data-column"] for a in named] == [*COLUMNS]
    types = {a["data-column"]: a["data-type"] for a in named}
    assert types == {name: column["type"] for name, column in COLUMNS.items()}
    assert tags.all("option", "value")[:4] == ["UA", EVIL, SEEN, ""]


def test_nothing_of_the_contract_becomes_markup(app: App) -> None:
    text = opened(app)[2]
    tags = Tags(text)
    assert not [n for n, _ in tags.tags if n in ("b", "img")][1:]  # "Ready" is bold
    assert not [key for _, a in tags.tags for key in a if key.startswith("on")]
    assert text.count("<script>") == text.count("</script>") == 1
    assert not [key for _, a in tags.tags for key in a if key == "style"]


def test_a_page_without_escaping_is_seen(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "escape", str)
    monkeypatch.setattr(page, "escape", str)
    fresh = App(app.model, version=EVIL)
    with pytest.raises(AssertionError):
        test_nothing_of_the_contract_becomes_markup(fresh)


def test_every_control_has_a_label_a_hint_and_a_line_for_its_error(app: App) -> None:
    tags = Tags(opened(app)[2])
    ids = [a["id"] for _, a in tags.tags if "id" in a]
    assert len(ids) == len(set(ids))
    labels = tags.all("label", "for")
    for name, a in tags.tags:
        if name in ("input", "select", "textarea"):
            assert a["id"] in labels or a["aria-label"]
            assert set((a["aria-describedby"] or "").split()) <= {*ids}
    assert "problem" in ids and ("p", "alert") in [
        (n, a.get("role")) for n, a in tags.tags
    ]


def test_a_browser_may_run_this_script_and_ask_this_server_only(app: App) -> None:
    _, headers, text = opened(app)
    policy = headers[b"content-security-policy"].decode()
    for tag in ("script", "style"):
        inline = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest())
        assert f"{tag}-src 'sha256-{digest.decode()}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert not re.search(r"(?:src|href)=\"(?!data:,)", text)


def test_the_form_starts_with_typical_values_and_no_secret(app: App) -> None:
    assert app.model
    found = form.typical(app.model)
    assert found.pop(EVIL) == EVIL and found.pop("words") == ""
    typical = {"__proto__": "900", "whole": "3", "flag": "true"}
    assert found == typical | {"when": "2013-04-01T10:30:00"}
    text = opened(app)[2]
    assert "PRIVATE" not in text
    assert not re.search(r"<option[^>]*SECRET[^>]*selected", text)


def test_values_are_the_middle_of_the_training_rows() -> None:
    assert form._middle([5, 1, 3], "number") == "3"
    assert form._middle([0.123456789], "number") == "0.123457"
    assert form._middle(["b", "a", "b"], "category") == "b"


def test_without_a_model_the_page_says_why() -> None:
    status, _, text = opened(App(None, f"it is gone: {EVIL}."))
    assert status == 200 and "Not ready" in text and "it is gone" in text
    assert "<b onclick" not in text and "<form" not in text


def test_numbers_of_the_page_are_those_that_were_counted(folder: Path) -> None:
    app = App(Model(folder), reasons=FREE)
    good = {"rows": [{**ROW, EVIL: "new<i>", "__proto__": 7000}] * 2}
    assert ask(app, good, "/predict")[0] == 200
    assert ask(app, {"rows": [{}]}, "/predict")[0] == 422
    assert ask(app, good)[0] == 200
    rows = re.findall(r"<th scope=\"row\">(.*?)</th><td>(.*?)</td>", opened(app)[2])
    found = dict(rows)
    assert found["Predictions"] == "1 request, 2 rows"
    assert (found["Refused"], found["Failed"]) == ("1 request", "0 requests")
    assert found["Explained"] == "1 request, 0 refused"
    assert found["Unknown categories"].endswith(": 2")
    assert found["Numbers out of range"] == "__proto__: 2"
    assert "99% within" in found["Time of a prediction"]


def test_trouble_is_marked() -> None:
    counts, log = Counts({}), {"written": 5, "queued": 0, "dropped": 0, "lost": 0}
    info = {"ready": True, "log": log}
    assert "attention" not in health(counts, info, 4_000)
    assert "1 hour" in health(counts, info, 4_000)
    counts.refused("/predict", 500, Reason.FAILED)
    assert health(counts, info, 1).count("class=attention") == 1
    log["lost"] = 1
    assert health(counts, info, 1).count("class=attention") == 2
    for seconds in (0.0001, 0.0001, 30):
        counts.responded("/predict", seconds)
    assert "half within 0.5 ms, 99% within more than 10 s" in health(counts, info, 1)


def test_the_page_is_on_where_only_this_machine_can_see_it() -> None:
    for family, host, private in (
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "0.0.0.0", False),
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET6, "::", False),
    ):
        with socket.socket(family) as listening:
            try:
                listening.bind((host, 0))
            except OSError:
                continue  # no IPv6 here
            assert page.is_private(listening) is private, host


def test_the_page_can_be_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(["--model", "x"]).page is None
    assert parse(["--model", "x", "--no-page"]).page is False
    monkeypatch.setenv("MODEL_PAGE", "on")
    assert parse(["--model", "x"]).page is True
    monkeypatch.setenv("MODEL_PAGE", "off")
    assert parse(["--model", "x"]).page is False
    monkeypatch.setenv("MODEL_PAGE", "yes")
    with pytest.raises(SystemExit, match="MODEL_PAGE must be on or off"):
        parse(["--model", "x"])


def test_no_page_is_no_path(folder: Path) -> None:
    with tiny.server(folder, "--no-page") as (port, _):
        status, answer = tiny.call(port, "/")
        assert status == 404 and "/explain" in answer["error"]


class Token:
    """What wants a token, as the server's own check does."""

    def check(self, headers: list[tuple[bytes, bytes]]) -> None:
        if (b"authorization", b"Bearer right") not in headers:
            raise RefusalError(401, Reason.UNAUTHORIZED, "it wants a token.")


def test_who_has_no_token_sees_nothing_of_the_model(folder: Path) -> None:
    app = App(Model(folder))
    app.tokens = Token()  # type: ignore[assignment]
    text = opened(app)[2]
    assert 'id="token"' in text and 'data-column="' not in text
    assert app.model and app.model.manifest_sha256 not in text
    assert "onclick" not in text.partition("<script>")[0]
    sent = [(b"authorization", b"Bearer right")]
    assert 'data-column="' in asyncio.run(send(app, "/", b"", "GET", sent))[2].decode()


ANSWER = {"manifest_sha256": "0" * 64, "logged": False, "reference": "18 rows"}
SHAPLEY = {
    "baseline": 0.25,
    "contributions": {f"c{n}": 0.001 * n for n in range(20)},
    "standard_errors": None,
    "exact": False,
    "source": "Strumbelj",
}
ANSWERS: dict[tuple[str, ...], dict[str, Any]] = {  # of other tasks, and what is shown
    ("Probability 0.440", "No decision", "May be: 0, 1", "8 other columns"): {
        "output": "probability",
        "value": 0.44,
        "prediction": {"probability": 0.44, "decision": None, "set": [0, 1]},
    },
    ("some, probability 0.700", "some 0.700 · none 0.300", "Estimated"): {
        "output": "probabilities",
        "value": 0.7,
        "class": "some",
        "prediction": {"probabilities": {"none": 0.3, "some": 0.7}, "class": "some"},
    },
    ("1,234.5", "Between 1,134.5 and 1,334.5", "+1,234.3"): {
        "output": "value",
        "value": 1234.5,
        "prediction": {"value": 1234.5, "interval": [1134.5, 1334.5]},
    },
}
KEYS = {"Enter": 13, "Tab": 9}


class Person:
    """Somebody at the keyboard in front of the page."""

    def __init__(self, browser: Any, url: str, width: int, dark: bool) -> None:
        self.browser = browser
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.call("Emulation.setEmulatedMedia", features=[scheme])
        browser.resize(width, 900)
        browser.call("Page.navigate", url="about:blank")
        browser.call("Page.navigate", url=url)
        self.until(
            "document.readyState == 'complete' && !!document.querySelector('h1')"
        )

    def sees(self, script: str) -> Any:
        return self.browser.evaluate(script)

    def until(self, script: str) -> None:
        end = time.monotonic() + 120
        while not self.sees(script):
            state = "document.querySelector('#problem').innerText"
            assert time.monotonic() < end, (script, self.sees(state))
            time.sleep(0.02)

    def press(self, key: str) -> None:
        code = {"windowsVirtualKeyCode": KEYS[key], "key": key, "code": key}
        text = {"text": "\r"} if key == "Enter" else {}
        self.browser.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.browser.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def tab_to(self, script: str) -> None:
        """Go on with the tab key until the focus is there, and seen."""
        for _ in range(40):
            self.press("Tab")
            if self.sees(f"(e => {script})(document.activeElement)"):
                style = self.sees(
                    "getComputedStyle(document.activeElement).outlineWidth"
                )
                assert style == "3px"
                return
        raise AssertionError(f"the tab key never comes to {script}")

    def fits(self, width: int) -> None:
        self.sees("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert self.sees("document.documentElement.scrollWidth") == width
        wide = "e => e.getBoundingClientRect().right > innerWidth + 1"
        assert not self.sees(f"[...document.querySelectorAll('main *')].some({wide})")


def test_a_row_is_tried_with_the_keyboard(folder: Path, browser: Any) -> None:
    """At both widths; the hostile names run nothing, and nothing else is loaded."""
    browser.requests.clear()
    with tiny.server(folder) as (port, _):
        url = f"http://127.0.0.1:{port}/"
        for width, dark in ((390, True), (1280, False)):
            person = Person(browser, url, width, dark)
            person.fits(width)
            person.tab_to("e.type == 'submit'")
            person.press("Enter")  # what is secret is not filled in
            error = "document.querySelector('[data-column=secret]')"
            person.until(f"{error}.getAttribute('aria-invalid') == 'true'")
            assert person.sees(f"document.activeElement == {error}")
            assert "needs" in person.sees(
                "document.querySelector('#problem').innerText"
            )
            person.browser.call("Input.insertText", text="S")
            person.sees(f"{error}.selectedIndex = 1")
            person.tab_to("e.type == 'submit'")
            person.press("Enter")
            person.until("document.querySelector('#status').textContent != ''")
            status = person.sees("document.querySelector('#status').textContent")
            assert status.startswith("Probability 0.") and "moved it most" in status
            assert person.sees("document.querySelectorAll('.reasons tr').length") == 3
            assert person.sees("document.title") == EVIL
            assert person.sees("document.querySelectorAll('img').length") == 0
            person.until("document.querySelector('#health').innerText.includes('Expl')")
            person.fits(width)
        typed = "document.querySelector('[data-column=whole]')"
        person.sees(f"{typed}.value = '99999999999'")
        person.tab_to("e.type == 'submit'")
        person.press("Enter")  # the server refuses it, beside the field
        person.until(f"{typed}.getAttribute('aria-invalid') == 'true'")
        refusal = person.sees("document.querySelector('#problem').innerText")
        assert "column 'whole' must be a whole number from" in refusal
        for said, answer in ANSWERS.items():
            found = json.dumps(ANSWER | {"explanations": [SHAPLEY | answer]})
            person.sees(f"show({found}, {{}})")
            text = person.sees("document.querySelector('#result').innerText")
            assert all(part in text for part in said), text
        asked = {u for u in browser.requests if not u.startswith(("about:", "data:"))}
        assert asked == {url, f"{url}explain"}
        assert tiny.call(port, "/info")[1]["refused"] == 0


def test_a_token_opens_the_page(browser: Any) -> None:
    """The one that is typed is sent with each request, and a wrong one is refused."""
    html = page._document("t", page.GATE)
    browser.call("Page.navigate", url="about:blank")
    frame = browser.call("Page.getFrameTree")["frameTree"]["frame"]["id"]
    browser.call("Page.setDocumentContent", frameId=frame, html=html)
    answers = {"": page.GATE, "Bearer right": "<h1>m</h1><p id=health></p>"}
    browser.evaluate(
        f"answers = {json.dumps(answers)}; sent = []; fetch = async (path, o) => {{"
        "const key = o.headers.authorization || ''; sent.push(key);"
        "return {text: async () => `<main>${answers[key] || answers['']}</main>`}}"
    )
    for typed, heading in (("wrong", "Model server"), ("right", "m")):
        browser.evaluate(f"document.querySelector('#token').value = '{typed}'")
        browser.evaluate("enter()")
        assert browser.evaluate("document.querySelector('h1').innerText") == heading
    assert browser.evaluate("sent") == ["Bearer wrong", "Bearer right"]
