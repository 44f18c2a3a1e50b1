"""An answer is refused with a sentence, or survives without harm."""

import configparser
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import jinja2
import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.extensions import JsonifyExtension
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Bake

TRIALS = 1000 if os.environ.get("PROOF") else 60
ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
STORAGES = json.loads((ROOT / "cookiecutter.json").read_text())["storage"]
GOOD = {
    "project_name": "Flight delays",
    "project_slug": "flight-delays",
    "description": "Will this flight be late?",
    "github_owner": "octo-org",
    "storage": "branch",
    "storage_url": "branch",
    "deploy_target": "host",
    "license": "MIT",
    "_template": "gh:octo-org/cookiecutter-ml-gitops",
}


def render(file: Path, answers: dict[str, str]) -> str:
    """Render a file as cookiecutter does."""
    return parsed(file).render(cookiecutter=answers)


@cache
def parsed(file: Path) -> jinja2.Template:
    """Parse a file with cookiecutter's settings."""
    environment = jinja2.Environment(
        extensions=[JsonifyExtension],
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.from_string(file.read_text())


def refusal(**changed: str) -> str | None:
    """Return the hook's sentence, or None if it takes the answers."""
    script = render(ROOT / "hooks" / "pre_gen_project.py", GOOD | changed)
    code = compile(script, "pre_gen_project.py", "exec")
    try:
        exec(code, {"__name__": "__main__"})
    except SystemExit as error:
        return str(error)
    return None


BAD = [
    ("project_name", 'Say "late"'),
    ("project_name", "back\\slash"),
    ("project_name", "two\nlines"),
    ("project_name", "{{ 7 * 7 }}"),
    ("project_name", "{% raw %}"),
    ("project_name", "$(touch x)"),
    ("project_name", "`id`"),
    ("project_name", "   "),
    ("project_name", ""),
    ("project_name", "<b>x</b>"),
    ("project_name", "x" * 61),
    ("project_slug", "../escape"),
    ("project_slug", "/tmp/escape"),
    ("project_slug", ".git"),
    ("project_slug", "a/b"),
    ("project_slug", "a b"),
    ("project_slug", "Flight"),
    ("project_slug", "-rf"),
    ("project_slug", "a"),
    ("project_slug", ""),
    ("project_slug", "con"),
    ("project_slug", "aux"),
    ("project_slug", "com1"),
    ("project_slug", "mlgitops"),
    ("project_slug", "model"),
    ("project_slug", "example"),
    ("project_slug", "test"),
    ("project_slug", "tests"),
    ("project_slug", "flight-delays\n"),
    ("project_slug", "x" * 41),
    ("description", "two\nlines"),
    ("description", "a \\ b"),
    ("description", "{{ cookiecutter }}"),
    ("description", "run `id`"),
    ("description", "<script>"),
    ("description", "a | b"),
    ("description", "\u2028line"),
    ("description", "\U0001f6eb takes off"),
    ("description", ""),
    ("github_owner", "two words"),
    ("github_owner", "a--b"),
    ("github_owner", "owner/repo"),
    ("github_owner", "-a"),
    ("github_owner", "@me"),
    ("storage_url", "elsewhere"),
    ("storage_url", ""),
]
BAD_URLS = [
    ("s3", "gs://bucket"),
    ("s3", "s3://key:secret@bucket"),
    ("s3", "s3://bucket/../other"),
    ("s3", "s3://bucket\n[core]"),
    ("s3", "s3://minio.example.com:9000/models"),
    ("gs", "bucket"),
    ("azure", "azure://"),
    ("ssh", "ssh://me:secret@machine/folder"),
    ("ssh", "ssh://machine"),
    ("ssh", "ssh://-oProxyCommand/folder"),
    ("local", "C:\\models"),
    ("local", "~/models"),
    ("local", "a;b"),
    ("local", "/srv/../etc"),
    ("local", "/srv/./models"),
    ("local", ".."),
    ("local", "/srv/..models"),
    ("local", "s3://bucket"),
]


@pytest.mark.parametrize(("name", "answer"), BAD)
def test_bad_answer_is_refused_with_a_sentence(name: str, answer: str) -> None:
    said = refusal(**{name: answer})
    assert said and said.startswith(f"{name} cannot be ") and ": type " in said
    assert said.isprintable() and len(said) < 320


@pytest.mark.parametrize(("storage", "url"), BAD_URLS)
def test_bad_storage_url_is_refused(storage: str, url: str) -> None:
    said = refusal(storage=storage, storage_url=url)
    assert said and said.startswith("storage_url cannot be ")


def test_a_password_is_refused_and_not_printed() -> None:
    said = refusal(storage="s3", storage_url="s3://key:hunter2@bucket/x")
    assert said and "without a login" in said and "hunter2" not in said


@pytest.mark.parametrize(
    "answers",
    [
        {},
        {"project_name": "Anna's churn (2nd try), v1.2 & more"},
        {"project_name": "Prévision des retards"},
        {"description": "She said \"late\"; it's 5 % of $10, isn't it? #1 @ noon"},
        {"description": "Wie spät? Größer als früher."},
        {"project_slug": "a1"},
        {"project_slug": "console"},
        {"project_slug": "pipeline"},  # no package of the team's has that name now
        {"github_owner": "A-1"},
        {"storage": "s3", "storage_url": "s3://bucket"},
        {"storage": "gs", "storage_url": "gs://bucket/folder/"},
        {"storage": "azure", "storage_url": "azure://container/folder"},
        {"storage": "ssh", "storage_url": "ssh://me@machine.example.com:22/srv/x"},
        {"storage": "local", "storage_url": "/srv/models"},
        {"storage": "local", "storage_url": "../../models"},
        {"storage": "local", "storage_url": "/home/me/.demo/storage"},
        {"storage": "local", "storage_url": ".storage"},
    ],
)
def test_good_answer_is_taken(answers: dict[str, str]) -> None:
    assert refusal(**answers) is None


ASK = st.sampled_from(["project_name", "project_slug", "description", "github_owner"])
WILD = st.text(max_size=80) | st.text(
    alphabet="'\"\\\n\r{}%#$`<>|;&/.~- abZ0[]=:\u2028", max_size=40
)


@settings(max_examples=TRIALS, deadline=None)
@given(name=ASK, answer=WILD)
def test_any_answer_is_refused_or_survives(name: str, answer: str) -> None:
    answers = GOOD | {name: answer}
    if said := refusal(**{name: answer}):
        assert said.isprintable()
        return
    project = tomllib.loads(render(TEMPLATE / "pyproject.toml", answers))
    assert project["project"]["name"] == answers["project_slug"]
    assert project["project"]["description"] == answers["description"]
    owners = render(TEMPLATE / "CODEOWNERS", answers).splitlines()
    assert all(re.fullmatch(r"#.*|/\S+ +@[\w-]+", line) for line in owners)


@settings(max_examples=TRIALS, deadline=None)
@given(
    storage=st.sampled_from(STORAGES),
    rest=st.text(alphabet="ab0/.:@-_ '\"\\\n[]=#%;~$", max_size=30),
    scheme=st.booleans(),
)
def test_any_storage_url_is_refused_or_stays_one_setting(
    storage: str, rest: str, scheme: bool
) -> None:
    url = f"{storage}://{rest}" if scheme else rest
    if refusal(storage=storage, storage_url=url):
        return
    config = configparser.RawConfigParser()
    answers = GOOD | {"storage": storage, "storage_url": url}
    config.read_string(render(TEMPLATE / ".dvc" / "config", answers))
    assert config.sections() == ["core", "'remote \"storage\"'"]
    assert dict(config["'remote \"storage\"'"]) == {"url": url, "verify": "true"}
    assert not re.search(r"://[^/@]*:[^/@]*@", url)


WHERE = [  # what somebody typed for cookiecutter, and what the project keeps of it
    ("gh:octo/tpl", "gh:octo/tpl"),
    ("https://github.com/octo/tpl.git", "https://github.com/octo/tpl.git"),
    ("https://me:secret@example.com/tpl.git", "https://example.com/tpl.git"),
    ("https://ghp_secret@example.com/t", "https://example.com/t"),
    ("git@github.com:octo/tpl.git", "git@github.com:octo/tpl.git"),
    ("ssh://git@example.com/tpl", "ssh://git@example.com/tpl"),
    ('/home/anna/it\'s "mine" \\ tpl', '/home/anna/it\'s "mine" \\ tpl'),
]


@pytest.mark.parametrize(("typed", "kept"), WHERE)
def test_the_templates_address_is_kept_without_a_login(typed: str, kept: str) -> None:
    """`make selftest` fetches the machinery's tests from there."""
    text = render(TEMPLATE / "pyproject.toml", GOOD | {"_template": typed})
    assert tomllib.loads(text)["tool"]["mlgitops"] == {"template": kept}


@pytest.mark.parametrize(("name", "answer"), [BAD[0], BAD[11], BAD[18]])
def test_cookiecutter_prints_the_sentence_and_leaves_nothing(
    template: Path, tmp_path: Path, name: str, answer: str
) -> None:
    (tmp_path / "out").mkdir()
    command = ("cookiecutter", "--no-input", str(template), "-o", str(tmp_path / "out"))
    done = subprocess.run(
        (sys.executable, "-m", *command, f"{name}={answer}"),
        capture_output=True,
        text=True,
    )
    assert done.returncode and f"{name} cannot be " in done.stdout + done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "out"]


def test_a_name_of_nothing_still_ends_in_a_sentence(
    bake: Bake, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a name there is no folder to derive either; the hook has to run."""
    with pytest.raises(FailedHookException):
        bake(project_name="")
    assert "project_name cannot be ''" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["A", "2048 game", "x" * 60, "Ünïted flights", "7"])
def test_a_folder_is_derived_from_any_name_that_is_taken(
    name: str, bake: Bake, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was not typed is not refused; the last line says what comes next."""
    folder = bake(project_name=name).name
    assert refusal(project_slug=folder) is None
    assert f"Generated {folder}; in a new project" in capfd.readouterr().out
