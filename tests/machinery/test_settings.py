"""What params.yaml and contract.yaml may hold: a mistake is named by path and value."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from machinery import judged
from mlgitops import settings
from mlgitops.commands import build
from mlgitops.judge import gates
from mlgitops.pipeline import fitting, schema
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.settings import SECTIONS
from mlgitops.pipeline.task import TASKS

ROOT = Path.cwd()
CONTRACT = (ROOT / "contract.yaml").read_text()
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
TERMS = """\
name: demand
task: binary
id: order
time: placed
target: returned
sensitive: [shop]
columns:
  shop: {type: category, missing: false, categories: [a, b, c]}
  price: {type: number, min: -10, max: 10, missing: false}
"""


def test_libyaml_reads_what_pyyaml_reads() -> None:
    """With the same lines; what it might crash on, it does not get."""

    def shown(value: object) -> object:
        if not isinstance(value, schema.Entries):
            return type(value), value
        return value.lines, {name: shown(entry) for name, entry in value.items()}

    texts = (ROOT / "params.yaml").read_text(), CONTRACT, TERMS, "a: 010\nb: é\n"
    for text in texts:
        both = [yaml.load(text, kind) for kind in (schema._Fast, schema.Loader)]
        assert shown(both[0]) == shown(both[1]) and schema._is_plain(text)
    for kind in ("[]", "{}"):
        deep = "a: " + kind[0] * 200_000 + kind[1] * 200_000
        assert not schema._is_plain(deep)
    assert not schema._is_plain("a: &a 1\nb: *a\n")


def test_the_shipped_files_are_as_the_schema_says() -> None:
    """And so are those that other tests write, of each task."""
    params = settings.load((ROOT / "params.yaml").read_bytes())
    settings.check(params, Contract.read(CONTRACT))
    assert set(params) <= set(SECTIONS)
    assert Contract.read(TERMS).sensitive == ("shop",)
    for task in judged.TASKS:
        contract = Contract.parse(judged.contract(task))
        settings.check(judged.params(["shop"], task), contract)


def test_yaml_means_what_it_did() -> None:
    """The loader refuses, and changes nothing else."""
    for text in (CONTRACT, (ROOT / "params.yaml").read_text()):
        assert schema.mapping(text, "x.yaml") == yaml.safe_load(text)


# What stands at a path of params.yaml, and nouns of the sentence on it. None: no key.
WRONG: list[tuple[str, Any, str]] = [
    ("train.threshold", 1.3, "number between 0 and 1, got 1.3"),
    ("train.threshold", float("nan"), "number between 0 and 1, got nan"),
    ("train.threshold", "0.3", "number between 0 and 1 without quotes"),
    ("train.threshold", "bst", "number between 0 and 1, or best, got 'bst'"),
    ("train.calibration", "platt", "sigmoid or isotonic, got 'platt'"),
    ("train.monotonic", {"distance": "up"}, "increasing or decreasing, got 'up'"),
    ("train.early_stopping", {"share": 0.1}, "early_stopping.rounds' is missing"),
    ("train.weights", 3, "train.weights must be text"),
    ("train.threshold", None, "required key 'train.threshold' is missing"),
    ("train.seed", True, "whole number between 0 and 4294967295, got true"),
    ("train.seed", 1.5, "whole number"),
    ("train.seeed", 1, "did you mean seed?"),
    ("train.parity", "1e-5", "1.0e-5"),
    ("train.columns", [], "list of 1 or more"),
    ("train.columns", "origin", "list such as"),
    ("train.columns", ["origin", "dest", "origin"], "columns[2] is 'origin' again"),
    ("train.columns", ["orign"], "columns[0] is 'orign', which is not a column"),
    ("train.columns", [True], "columns[0] must be text, but YAML reads it as true"),
    ("train.estimator", None, "required key 'train.estimator' is missing"),
    ("train.mine", {1: 2}, "train.mine has a key that YAML reads as the number 1"),
    ("prepare.holdout_days", "two", "a number between 0.001"),
    ("prepare.split", None, "required key 'prepare.split' is missing"),
    ("prepare.split", "month", "time or random or group or column, got 'month'"),
    ("prepare.split", "random", "holdout_days is for the split time, not random"),
    ("prepare.holdout_share", 0.2, "is for the split random and group, not time"),
    ("prepare.holdout", ["test"], "holdout is for the split column, not time"),
    ("prepare.batch", 10, "a whole number between 1000"),
    ("prepare.holdout_day", 3, "did you mean holdout_days?"),
    ("prepare", None, "required key 'prepare' is missing"),
    ("prepare", [], "entries such as"),
    ("evaluate.bins", 0, "whole number between 1 and 1000, got 0"),
    ("evaluate.bin", 10, "did you mean bins?"),
    ("experiment", {"train.sed": [1]}, "did you mean train.seed?"),
    ("experiment", {"train.seed": 1}, "list such as"),
    ("business.false_positive", False, "number, got false"),
    ("business.true_positve", 3, "did you mean true_positive?"),
    ("business.false_positive", 5, "a right decision has to be worth more"),
    ("business.true_positive", -9, "a right decision has to be worth more"),
    ("business.unit", None, "required key 'business.unit' is missing"),
    ("business.unit", 3, "must be text, but YAML reads it as the number 3"),
    ("fairness.columns", ["orign"], "did you mean origin?"),
    ("fairness.selection_rate_max", -1, "number of 0 or more, got -1"),
    ("fairness.error_rate_max", 0.1, "fairness.error_rate_max is not known"),
    ("fairness", 3, "entries such as"),
    ("override.role", "read", "write or maintain or admin, got 'read'"),
    ("override.checks", ["Slices", "Slices"], "checks[1] is 'Slices' again"),
    ("override.checks", "Slices", "list such as"),
    ("compute.price_per_minute", "free", "number of 0 or more, got 'free'"),
    ("compute.backend", "dsk", "local or dask, got 'dsk'"),
    ("compute.currency", None, "required key 'compute.currency' is missing"),
    ("monitor.window_days", 0, "number between 0.01 and 10000, got 0"),
    ("monitor.window_day", 28, "did you mean window_days?"),
    ("monitor.min_rows", 300.5, "whole number between 30 and 1000000000"),
    ("monitor.confidence", True, "number between 0.5 and 0.99999, got true"),
    (
        "monitor.min_shift_columns",
        {"temp": "far"},
        "columns.temp must be a number",
    ),
    ("monitor.sample_rows", 5, "monitor.sample_rows is not known"),
    ("retrain.keep_days", True, "number between 0.01"),
    ("retrain.min_day", 7, "did you mean min_days?"),
    ("deploy.bump", "big", "major or minor or patch, got 'big'"),
    ("deploy.timeout_second", 5, "did you mean timeout_seconds?"),
    ("deploy.timeout_seconds", 0, "number between 1 and 86400"),
    ("deploy.environments", ["staging"], "must end with 'production'"),
    ("deploy.environments", ["monitor", "production"], "holds logins on GitHub"),
    ("deploy.shadow", "stagin", "deploy.shadow is 'stagin', which is not"),
    ("deploy.shadow", "stagin", "did you mean staging?"),
    ("deploy.shadow", "production", "not an environment before production"),
    ("moniter", {}, "moniter is not known; did you mean monitor?"),
]


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the params of a binary task, changed at a path."""
    params: Any = yaml.safe_load(yaml.safe_dump(PARAMS))
    *above, last = path.split(".")
    place = params
    for name in above:
        place = place[name]
    place.pop(last, None)
    if value is not None:
        place[last] = value
    return dict(params)


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=str)
def test_a_wrong_setting_is_named(path: str, value: Any, words: str) -> None:
    contract = Contract.read(CONTRACT)
    with pytest.raises(settings.SettingsError) as refused:
        settings.check(changed(path, value), contract)
    sentence = str(refused.value)
    assert sentence.startswith("params.yaml: ") and "\n" not in sentence
    assert path.split(".")[0] in sentence and words in sentence, sentence


MISSPELT = [  # a key that is nearly another, in each section and below
    *((section, "") for section in PARAMS if section != "experiment"),
    *(("gates", rule) for rule in PARAMS["gates"] if rule != "confidence"),
    ("train", "hist_gradient_boosting"),
    ("train", "logistic_regression"),
]


@pytest.mark.parametrize(("section", "below"), MISSPELT, ids=str)
def test_an_unknown_key_is_refused_with_the_nearest_and_its_line(
    section: str, below: str
) -> None:
    """Of sections that nothing else reads, too: a linear model's, beside trees'."""
    place = PARAMS[section][below] if below else PARAMS[section]
    keys = [key for key in place if key not in ("mine", *PARAMS)]
    for key in (keys[0], keys[-1]):
        lines = (ROOT / "params.yaml").read_text().splitlines()
        start = lines.index(next(x for x in lines if x.startswith(f"{section}:")))
        number = next(
            n
            for n, line in enumerate(lines[start:], start + 1)
            if re.match(rf" +{below}:", line) or not below
        )
        number = next(
            n
            for n, line in enumerate(lines[number - 1 :], number)
            if re.match(rf" +{key}:", line)
        )
        lines[number - 1] = lines[number - 1].replace(f"{key}:", f"{key}x:", 1)
        sentence = refusal("\n".join(lines))
        path = ".".join(name for name in (section, below, f"{key}x") if name)
        assert path in sentence and "(line " in sentence, sentence
        assert f"(line {number})" in sentence and key in sentence.replace(path, "")


def refusal(text: str) -> str:
    """Return what is said of a params.yaml, by all who read it."""
    contract = Contract.read(CONTRACT)
    with pytest.raises(settings.SettingsError) as refused:
        params = settings.load(text)
        fitting.build(contract, settings.train(params, contract.task))
        settings.check(params, contract)
        gates.parse(params, contract.task)
    return str(refused.value)


def test_a_canary_needs_an_environment_before_production() -> None:
    """Told at the proposal: a deployment would only say that it does nothing."""
    contract, canary = Contract.read(CONTRACT), {"share": 0.1, "hours": 24}
    rules = {**PARAMS["deploy"], "canary": canary, "shadow": "staging"}
    settings.check({**PARAMS, "deploy": rules}, contract)
    rules = {"environments": ["production"], "canary": canary}
    with pytest.raises(settings.SettingsError, match="canary needs an environment"):
        settings.check({**PARAMS, "deploy": rules}, contract)
    settings.check({**PARAMS, "deploy": {"environments": ["production"]}}, contract)


def test_a_shift_of_a_column_that_there_is_none_is_refused() -> None:
    """The monitor would take the general one, without a word."""
    line = "min_shift_columns: {}"
    text = (ROOT / "params.yaml").read_text()
    sentence = refusal(text.replace(line, "min_shift_columns: {distanc: 0.5}"))
    assert "min_shift_columns.distanc" in sentence and "did you mean" in sentence


def test_the_seed_of_an_estimator_is_that_of_the_section() -> None:
    """One that stands below the estimator would be replaced without a word."""
    text = (ROOT / "params.yaml").read_text()
    line = "    max_iter: 100"
    assert line in text
    sentence = refusal(text.replace(line, "    random_state: 3\n" + line, 1))
    assert "random_state (line" in sentence and "train.seed" in sentence


@pytest.mark.parametrize("section", ["experiment", "business", "fairness", "override"])
def test_a_section_may_be_left_out_but_not_misspelt(section: str) -> None:
    """It would be left out by mistake."""
    contract = Contract.read(CONTRACT)
    params = {name: body for name, body in PARAMS.items() if name != section}
    settings.check(params, contract)
    with pytest.raises(settings.SettingsError, match=f"did you mean {section}"):
        settings.check({**params, section[:-1]: PARAMS[section]}, contract)


def test_a_section_of_a_stage_of_ones_own_is_nobody_elses() -> None:
    settings.check({**PARAMS, "another": {"thing": 1}}, Contract.read(CONTRACT))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("monitor.window_day", 1, "did you mean window_days?"),
        ("gates.modl_size", {"max_mb": 1}, "did you mean model_size?"),
        ("override.checks", ["slice"], "did you mean slices?"),
    ],
)
def test_a_pull_request_is_not_built_with_a_mistake_in_any_section(
    path: str, value: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once merged it would stop the monitor, a deployment or the judge itself."""
    monkeypatch.chdir(tmp_path)
    Path("contract.yaml").write_text(CONTRACT)
    Path("params.yaml").write_text(yaml.safe_dump(PARAMS))
    build.check()
    Path("params.yaml").write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(settings.SettingsError, match=r"^params\.yaml") as refused:
        build.check()
    assert words in str(refused.value)
    Path("params.yaml").unlink()
    with pytest.raises(ContractError, match=r"params\.yaml is missing"):
        build.check()


def test_a_mistake_stops_only_who_reads_it() -> None:
    """Main's monitor does not stop the judge, which has to pass its repair."""
    params = changed("monitor.min_rows", "many")
    assert settings.prepare(params).holdout_days == 14
    with pytest.raises(settings.SettingsError, match=r"monitor\.min_rows"):
        settings.monitor(params)


def test_every_key_of_the_shipped_file_is_in_the_schema() -> None:
    """A key more in any section is refused: none is read past the schema."""
    contract = Contract.read(CONTRACT)
    free = {"gates", "experiment"}  # the judge's, and the paths of settings
    for section in set(PARAMS) - free:
        with pytest.raises(settings.SettingsError, match="unheard is not known"):
            settings.check(changed(f"{section}.unheard", 1), contract)


# A line of the contract, what it becomes, and nouns of the sentence on it.
BROKEN = [
    ("[a, b, c]", "[a, NO, c]", "shop.categories[1] must be text, but YAML reads it"),
    ("[a, b, c]", "[a, NO, c]", "as false: put it in quotes"),
    ("[a, b, c]", "[a, yes, c]", "as true: put it in quotes"),
    ("[a, b, c]", "[a, on, c]", "as true: put it in quotes"),
    ("[a, b, c]", "[a, 010, c]", "as the number 8: put it in quotes"),
    ("[a, b, c]", "[a, 12:30, c]", "as the number 750: put it in quotes"),
    ("[a, b, c]", "[a, 1.0, c]", "as the number 1.0: put it in quotes"),
    ("[a, b, c]", "[a, 2013-01-02, c]", "as the time 2013-01-02: put it in quotes"),
    ("[a, b, c]", "[a, null, c]", "as nothing: put it in quotes"),
    ("[a, b, c]", "[a, '', c]", "categories[1] must be text, got ''"),
    ("[a, b, c]", "[a, b, a]", "categories[2] is 'a' again"),
    ("[a, b, c]", "[]", "list of 1 or more"),
    ("[a, b, c]", "a", "list such as"),
    (", categories: [a, b, c]", "", "key 'columns.shop.categories' is missing"),
    (
        "categories: [a, b, c]",
        "categories: [a], min: 1",
        "columns.shop.min (line 8) is not",
    ),
    ("missing: false, c", 'missing: "false", c', "true or false, without quotes"),
    ("missing: false, c", "missing: 0, c", "true or false, without quotes, got 0"),
    ("missing: false, c", "mising: false, c", "did you mean missing?"),
    ("type: number", "type: texts", "datetime or text, got 'texts'"),
    ("type: number, ", "", "key 'columns.price.type' is missing"),
    ("min: -10", "min: true", "columns.price.min must be a number, got true"),
    ("min: -10", "min: .nan", "columns.price.min must be a number, got nan"),
    ("min: -10", "min: 10", "columns.price.min must be below max"),
    ("min: -10", "least: -10", "columns.price.least (line 9) is not known"),
    ("shop: {", "on: {", "columns has a key that YAML reads as true"),
    ("[shop]", "[shp]", "sensitive[0] is 'shp', which is not one of the columns"),
    ("[shop]", "[shp]", "did you mean shop?"),
    ("[shop]", "shop", "list such as"),
    ("[shop]", "[shop, shop]", "sensitive[1] is 'shop' again"),
    ("sensitive:", "sensitve:", "did you mean sensitive?"),
    ("target: returned", "target: price", "target is 'price', and so is columns.price"),
    ("target: returned", "target: order", "target is 'order', and so is id"),
    ("time: placed", "time: order", "time is 'order', and so is id"),
    ("id: order", "id: shop", "id is 'shop', and so is columns.shop"),
    ("target: returned\n", "", "required key 'target' is missing"),
    ("target: returned", "target:", "target must be text, got nothing"),
    ("task: binary", "task: ranking", "binary or multiclass or regression"),
    ("task: binary", "task: binary\nclasses: [a, b]", "classes is for the task multi"),
    ("task: binary", "task: multiclass", "classes must be a list of two or more"),
    ("task: binary", "task: multiclass\nclasses: [NO, b]", "classes[0] must be text"),
    ("name: demand", "name: ../x y", "lower-case letters, digits and hyphens"),
    ("name: demand", "name: demand\nentity: [a]", "entity must be text"),
    ("name: demand", "name: demand\nentity: order", "entity is 'order', the id"),
]


@pytest.mark.parametrize(("old", "new", "words"), BROKEN, ids=str)
def test_a_wrong_contract_is_named(old: str, new: str, words: str) -> None:
    assert old in TERMS
    with pytest.raises(ContractError) as refused:
        Contract.read(TERMS.replace(old, new, 1))
    sentence = str(refused.value)
    assert sentence.startswith("contract.yaml: ") and "\n" not in sentence
    assert words in sentence, sentence


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n"


@pytest.mark.parametrize("name", ["params.yaml", "contract.yaml"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
        ("a:\n  b: {c: 1, c: 2}\n", "line 2: the key 'c' is given twice"),
        ("a: {yes: 1, on: 2}\n", "given twice"),
        (BOMB, "line 2: an alias"),
        ("a: &a\n  b: *a\n", "an alias"),
        ("a: !!python/object/apply:os.getcwd []\n", "line 1"),
        ("a: [\n", "line"),
        ("a: 2013-33-44\n", "month"),
        (f"a: {'9' * 5000}\n", "digits"),
        ("[" * 2000, "nested too deep"),
        (b"a: \xff\n", "valid YAML"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_yaml_that_nobody_means_is_refused(
    name: str, text: str | bytes, words: str
) -> None:
    with pytest.raises(ContractError, match=rf"^{name} is not valid YAML") as refused:
        schema.mapping(text, name)
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["- a\n", "word\n", "", "7"])
def test_a_file_without_entries_is_refused(text: str) -> None:
    with pytest.raises(settings.SettingsError, match="holds no entries"):
        settings.load(text)


def test_the_tasks_of_the_schema_are_the_tasks() -> None:
    hints = get_type_hints(Contract)
    assert set(get_args(hints["task"])) == set(TASKS)
    by_task: list[Mapping[str, Any]] = [settings.WORTH, settings.FAIRNESS]
    assert all(set(each) == set(TASKS) for each in by_task)


def test_a_threshold_and_classes_are_what_a_task_needs() -> None:
    """As the tasks themselves say it."""
    for task, about in TASKS.items():
        contract = Contract.parse(judged.contract(task))
        assert bool(contract.classes) == ("classes" in about.needs)


def test_a_class_may_be_a_whole_number() -> None:
    """In the contract, and where a decision has a worth; 1.0 and NO may not."""
    text = TERMS.replace("binary", "multiclass\nclasses: [1, 2]")
    contract = Contract.read(text)
    assert contract.classes == ("1", "2")
    worth = "{1: {1: 3, 2: 0}, 2: {1: 0, 2: 3}}"
    section = f"business: {{unit: euros, worth: {worth}}}"
    found = settings.business(settings.load(section), contract)
    assert isinstance(found, settings.MulticlassWorth) and found.worth["1"]["1"] == 3
    for other in ("1.0", "NO"):
        with pytest.raises(ContractError, match=r"classes\[0\] must be text"):
            Contract.read(text.replace("[1,", f"[{other},"))


@pytest.mark.parametrize("value", [0, 1.5, -3, 10**30])
def test_a_number_is_one_and_keeps_its_kind(value: float) -> None:
    found = schema.convert(float, value, schema.Location("params.yaml", "a"))
    assert found is value and schema.is_number(value)


@pytest.mark.parametrize(
    "value", [True, None, "1", float("inf"), float("nan"), 10**400, [1]]
)
def test_what_is_no_number_is_none(value: Any) -> None:
    assert not schema.is_number(value)
    with pytest.raises(settings.SettingsError, match="a must be a number"):
        schema.convert(float, value, schema.Location("params.yaml", "a"))
