"""Columns of free text, from the contract to the monitor: the same words everywhere."""

import json
import time
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer

from machinery import free_text, test_edge, test_traced, tiny
from machinery import rows as small
from machinery.judged import params
from mlgitops import prediction_log, settings
from mlgitops.commands import simulate
from mlgitops.judge import (
    behaviour,
    changes,
    edges,
    evaluation,
    explain,
    flips,
    gates,
    operators,
    requests,
    sandbox,
    slices,
)
from mlgitops.judge import columns as judged
from mlgitops.pipeline import (
    conversion,
    data,
    fitting,
    golden,
    manifest,
    parity,
    texts,
)
from mlgitops.pipeline import words as trained
from mlgitops.pipeline.contract import Contract, ContractError
from mlgitops.pipeline.conversion import GraphFeatures
from mlgitops.pipeline.task import TASKS
from mlgitops.serving import rows as served
from mlgitops.serving import words as answered
from mlgitops.serving.model import Model
from mlgitops.testing import Project
from model import estimator
from model.features import for_trees

words = trained.words
MIXED = free_text.tickets().yaml
TERMS = Contract.read(MIXED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \r\n\t\0 .,;!?_-$+", ""),
        ("Hello, WORLD! don't", "hello world don t"),
        ("É é e\u0301 E", "e e e e"),
        ("Straße STRASSE ﬁne", "strasse strasse fine"),
        ("İstanbul ΣΑΣ σας", "istanbul σασ σασ"),
        ("漢字abc かな", "漢 字 abc か な"),
        ("a👍🏽b ❤\ufe0f ❤", "a 👍 🏽 b ❤ ❤"),
        ("👨\u200d👩", "👨 👩"),
        ("x\u200dy\u00ad\u202ez", "xyz"),
        ("\ud83dhalf", "half"),
        ("हिन्दी में", "हिन्दी में"),
        ("a\u00a0b\u3000c\u2028d", "a b c d"),
        ("1,234.5 ①", "1 234 5 1"),
    ],
)
def test_words_are_of_letters_symbols_and_single_ideographs(
    text: str, expected: str
) -> None:
    assert words(text) == expected


def test_a_text_has_the_same_words_however_its_letters_are_composed() -> None:
    """Of each form of Unicode, and in any case."""
    for text in (*free_text.ODD, "Ünïcødé 한국어 がぎ Ǆ", golden.STRANGE):
        found = words(text)
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert words(unicodedata.normalize(form, text)) == found, ascii(text)
        assert words(found) == found
        assert found == " ".join(found.split())


def test_the_server_has_the_same_rule() -> None:
    """Its file is a copy, as an image of it has no `pipeline/`."""
    here, there = (Path(str(module.__file__)) for module in (trained, answered))
    assert here != there
    assert here.read_bytes() == there.read_bytes()


def test_no_text_takes_long() -> None:
    """`unicodedata.normalize` takes two seconds for as many marks in a row."""
    marks = ("a" + "\u0315\u0300" * trained.LONGEST)[: trained.LONGEST]
    others = ("a " * trained.LONGEST, "漢" * trained.LONGEST, "ﷺ" * trained.LONGEST)
    for text in (marks, *others):
        start = time.process_time()
        assert len(words(text[: trained.LONGEST]).split()) <= trained.MOST
        assert time.process_time() - start < 0.5


def unicode_texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of characters from all of Unicode, a third of them ASCII."""
    random = np.random.default_rng(seed)
    pools = [range(32, 127), range(0, 0x3000), range(0x3000, 0x20000)]
    made = []
    for _ in range(count):
        pool = pools[random.integers(3)]
        codes = random.integers(pool.start, pool.stop, random.integers(0, 60))
        made.append("".join(map(chr, codes.tolist())))
    return made


@pytest.mark.parametrize("counts", [False, True])
def test_terms_are_counted_and_weighed_the_same_in_the_file(counts: bool) -> None:
    """Of two columns, of all of Unicode; counts to the bit."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import StringTensorType

    texts.register()
    random = np.random.default_rng(3)
    pool = [*unicode_texts(300), *free_text.PLAIN, *free_text.ODD, "", ""]
    made = [" ".join(random.choice(pool, random.integers(0, 9))) for _ in range(800)]
    X = pd.DataFrame({"a": [*map(words, made)], "b": [*map(words, made[::-1])]})
    features = texts.Texts(300, counts=counts).fit(X)
    expected = features.transform(X)
    expected = expected if counts else expected.toarray()
    model = convert_sklearn(
        features,
        initial_types=[("x", StringTensorType([None, 2]))],
        target_opset={**conversion.OPSET, "": texts.OPSET},
    )
    operators.check(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for part in (X, X[:1], X.assign(a="", b=""), X.assign(a="unheard of")):
        (output,) = session.run(None, {"x": part.to_numpy(object)})
        expected = features.transform(part)
        expected = expected if counts else expected.toarray()
        np.testing.assert_allclose(output, expected, rtol=0, atol=0 if counts else 3e-7)
    names = features.get_feature_names_out()
    assert len(names) == output.shape[1] == features.width == 600


@pytest.mark.parametrize("arguments", [{}, {"analyzer": "char"}, {"lowercase": False}])
def test_another_tokenizer_is_refused_by_name(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    """Scikit-learn's own: its export needs a locale that an image lacks."""
    found = build("reviews", "logistic_regression", tmp_path)
    step = ("texts", TfidfVectorizer(**arguments), "review")
    contract = found.project.contract
    features = GraphFeatures(ColumnTransformer([step]), contract, ["review"])
    inputs = fitting.table(data.inputs(found.rows, contract, ["review"]))
    with pytest.raises(ContractError, match="use Texts of mlgitops.pipeline.texts"):
        features.fit(inputs, found.rows["target"])


def test_a_text_stands_beside_a_computed_feature_under_a_forest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that may be in one file: code, words, trees that are written exactly."""
    body = test_traced.of('xp.log1p(columns["m²"])')
    forest = (for_trees, RandomForestRegressor(5, max_depth=6))
    monkeypatch.setattr("model.features.features", test_traced.function(tmp_path, body))
    monkeypatch.setitem(estimator.REGRESSORS, "forest", forest)
    found = build("flats", "forest", tmp_path)
    contract, columns = found.project.contract, found.project.train.columns
    assert [*found.fitted.named_steps] == ["columns", "features", "forest"]
    for rows in (found.rows, odd_rows(found)):
        arrays = data.inputs(rows, contract, columns)
        parity.check_features(found.fitted, arrays, contract)
        proof = parity.parity(found.fitted, found.model, arrays, contract)
        assert proof["max_difference"] <= 1e-6
    answers = Model(found.folder).predict(
        json.loads(json.dumps(golden.requests(found.rows[:20], contract)))
    )
    arrays = data.inputs(found.rows[:20], contract, columns)
    np.testing.assert_array_equal(answers, fitting.score(found.model, arrays, "value"))


def test_a_column_without_a_frequent_word_is_named() -> None:
    frame = pd.DataFrame({"note": ["one", "two", ""]})
    with pytest.raises(ValueError, match='"note"'):
        texts.Texts().fit(frame)


def test_terms_are_chosen_from_so_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """And counted in all of them."""
    monkeypatch.setattr(texts, "SEEN", 4)
    frame = pd.DataFrame({"note": ["one", "two"] * 4})
    features = texts.Texts(counts=True)
    assert features.fit_transform(frame).tolist() == [[1], [0]] * 4
    assert features.get_feature_names_out().tolist() == ["note_one"]


def test_a_vocabulary_may_have_single_words_only() -> None:
    frame = pd.DataFrame({"note": ["one", "one", "two", "two"]})
    assert texts.Texts().fit(frame).width == 2


class Version(NamedTuple):
    """A version on disk, and what it was made of."""

    folder: Path
    table: free_text.Table
    project: Project
    rows: pd.DataFrame
    fitted: Any
    model: bytes


CASES = [
    ("reviews", "logistic_regression"),
    ("reviews", "hist_gradient_boosting"),
    ("tickets", "logistic_regression"),
    ("flats", "ridge"),
    ("flats", "hist_gradient_boosting"),
]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def version(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    """Return a version of a table, fitted, exported and written as a build does."""
    name, estimator = request.param
    return build(name, estimator, tmp_path_factory.mktemp(name))


def build(name: str, estimator: str, folder: Path) -> Version:
    """Return a version of a table in a folder."""
    table = free_text.TABLES[name]()
    task = table.contract["task"]
    params = {**small.settings(task), "columns": [*table.contract["columns"]]}
    params |= {"estimator": estimator, "ridge": {"alpha": 1.0}}
    (folder / "contract.yaml").write_text(table.yaml)
    (folder / "params.yaml").write_text(yaml.safe_dump({"train": params}))
    project = Project(folder)
    rows = data.check(table.rows, project.contract)
    fitted = project.fit(rows, estimator)
    model = project.export(fitted)
    columns = project.train.columns
    written = manifest.manifest(
        project.contract,
        replace(project.train, estimator=estimator),
        ("model.onnx", model),
        contract=tiny.contract_hashes(table.yaml),
        code={"sha256": "0" * 64},
        requirements={"sha256": "1" * 64},
        golden=parity.golden(model, rows, project.contract, columns),
    )
    (folder / "model.onnx").write_bytes(model)
    (folder / "manifest.json").write_text(written)
    return Version(folder, table, project, rows, fitted, model)


def odd_rows(version: Version) -> pd.DataFrame:
    """Return rows of each odd text, of all of Unicode, missing and longest ones."""
    table, longest = version.table, version.table.longest
    made = [*free_text.ODD, *unicode_texts(300, seed=9), "great " * 4_000, "漢" * 4_000]
    cut = [text[:longest] or "." for text in made]
    rows = version.rows.iloc[np.resize(np.arange(40), len(cut))].copy()
    rows[table.column] = pd.Series(cut, rows.index, dtype=object)
    if version.project.contract.columns[table.column].missing:
        blank = rows.iloc[:5].assign(**{table.column: None})
        rows = pd.concat([rows, blank])
    return rows.reset_index(drop=True)


def test_server_file_and_training_agree_row_by_row(version: Version) -> None:
    """On the table itself, on Unicode, missing and extreme texts; alone or together."""
    contract, columns = version.project.contract, version.project.train.columns
    task = TASKS[contract.task]
    model = Model(version.folder)
    worst = 0.0
    for rows in (version.rows, odd_rows(version)):
        arrays = data.inputs(rows, contract, columns)
        fitted = task.fitted(version.fitted, fitting.table(arrays))
        exported = fitting.score(version.model, arrays, task.output)
        sent = json.loads(json.dumps(golden.requests(rows, contract)))
        parts = [sent[n : n + 1_000] for n in range(0, len(sent), 1_000)]
        answers = np.concatenate([model.predict(part) for part in parts])
        np.testing.assert_array_equal(answers, exported)
        alone = [model.predict([row])[0] for row in sent[-30:]]
        np.testing.assert_allclose(alone, answers[-30:], rtol=1e-6, atol=1e-6)
        worst = max(worst, float(np.abs(exported - fitted).max() / task.scale(fitted)))
    assert worst <= 1e-6
    proof = parity.parity(version.fitted, version.model, arrays, contract)
    assert proof["max_difference"] <= 1e-6


def test_the_text_is_what_decides(version: Version) -> None:
    """Another text gives another prediction, and the model is a good one."""
    contract, columns = version.project.contract, version.project.train.columns
    task = TASKS[contract.task]
    arrays = data.inputs(version.rows, contract, columns)
    shuffled = {**arrays, version.table.column: arrays[version.table.column][::-1]}
    plain = fitting.score(version.model, arrays, task.output)
    moved = fitting.score(version.model, shuffled, task.output)
    assert np.abs(plain - moved).max() > 0.1
    if contract.task == "binary":
        assert ((plain >= 0.5) == version.rows["target"]).mean() > 0.8


def test_the_file_has_standard_operators_only(version: Version) -> None:
    model = onnx.load_from_string(version.model)
    operators.check(model)
    kinds = {node.op_type for node in model.graph.node}
    assert {"StringSplit", "TfIdfVectorizer"} <= kinds
    assert "StringNormalizer" not in kinds  # it lowers case by the machine's locale
    again = version.project.export(version.fitted)
    assert again == version.model


def test_the_judge_asks_the_server_at_the_edges(
    version: Version, tmp_path: Path
) -> None:
    """Longest, odd and missing texts, alone and in batches."""
    contract = version.project.contract
    sample, result, note = (tmp_path / n for n in ("s.json", "r.json", "note"))
    sent = golden.requests(version.rows.iloc[::60], contract)
    sample.write_text(json.dumps(sent))
    arguments = (version.folder, sample, result, note, "1000", "1e-5")
    sandbox.run("serving", "mlgitops.judge.serve", *arguments)
    found = json.loads(result.read_text())
    assert "check" not in found, found
    assert len(found["predictions"]) == len(sent)
    assert found["asked"] > 250


def test_the_judge_scores_the_file_as_it_was_exported(
    version: Version, tmp_path: Path
) -> None:
    """Its child takes so many rows at a time that texts fit into memory."""
    contract, columns = version.project.contract, version.project.train.columns
    arrays = data.inputs(version.rows, contract, columns)
    task, k = TASKS[contract.task], len(contract.classes)
    judged.write(tmp_path / "inputs.npz", arrays)
    model, result = version.folder / "model.onnx", tmp_path / "result.npy"
    arguments = (model, tmp_path / "inputs.npz", result, task.output, str(max(k, 1)))
    sandbox.run("model_file", "mlgitops.judge.score", *arguments)
    expected = fitting.score(version.model, arrays, task.output)
    np.testing.assert_array_equal(np.load(result), expected)


def test_the_edge_bundle_answers_the_same(version: Version, tmp_path: Path) -> None:
    done = test_edge.build(version.folder, tmp_path / "edge.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "edge.zip") as file:
        file.extractall(tmp_path / "edge")
    contract = version.project.contract
    sent = golden.requests(odd_rows(version).iloc[:40], contract)
    ids = [f"row-{n}" for n in range(len(sent))]
    rows = [{**row, "id": i} for row, i in zip(sent, ids, strict=True)]
    done = test_edge.run(tmp_path / "edge", {"rows": rows})
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["predictions"]
    assert found == Model(version.folder).predictions(sent, ids)


def test_golden_rows_hold_no_word_that_is_rare(version: Version) -> None:
    """A manifest is read by many, and a rare word may be a person's."""
    column, contract = version.table.column, version.project.contract
    rows = version.rows.copy()
    rows[column] = [
        t if not isinstance(t, str) else f"{t} secret{n}"[: version.table.longest]
        for n, t in enumerate(rows[column])
    ]
    found = [str(row[column]) for row in golden.rows(rows, contract)]
    assert not any("secret" in text for text in found)
    assert max(len(text.split()) for text in found[:-1]) > 2
    assert words(found[-1])  # letters of many scripts, in the last one
    assert Model(version.folder).check_golden() == 0


COLUMN = "{type: text, missing: false, max_length: 20}"


def one_text(column: str = COLUMN) -> Contract:
    """Return a contract of one column of text."""
    about = "name: notes\ntask: binary\nid: row\ntarget: y\ncolumns:\n"
    return Contract.read(f"{about}  note: {column}\n")


@pytest.mark.parametrize(
    ("column", "part"),
    [
        ("{type: text, missing: false}", "max_length"),
        ("{type: text, missing: false, max_length: 0}", "max_length"),
        ("{type: text, missing: false, max_length: 20001}", "20000"),
        ("{type: text, missing: false, max_length: 2.5}", "whole"),
        ("{type: text, missing: false, max_length: '20'}", "quotes"),
        ("{type: text, missing: false, max: 20}", "max_length"),
        ("{type: text, missing: 'false', max_length: 20}", "true or false"),
        ("{type: category, missing: false, max_length: 9}", "max_length"),
        ("{type: texts, missing: false}", "or text"),
    ],
)
def test_a_column_that_makes_no_sense_is_refused(column: str, part: str) -> None:
    with pytest.raises(ContractError, match="contract.yaml: .*") as error:
        one_text(column)
    assert part in str(error.value) and "columns.note" in str(error.value)


def notes(*texts: Any) -> pd.DataFrame:
    """Return a table of notes."""
    rows = {"row": [f"{n}" for n in range(len(texts))], "note": [*texts]}
    return pd.DataFrame({**rows, "y": [n % 2 for n in range(len(texts))]})


def test_a_table_holds_texts_as_they_are() -> None:
    """Nothing is trimmed; an empty text is a missing one."""
    checked = data.check(notes(" A\r\n", "\0", "ß" * 20), one_text())
    assert checked["note"].tolist() == [" A\r\n", "\0", "ß" * 20]
    optional = one_text(COLUMN.replace("false", "true"))
    checked = data.check(notes("", None, np.nan, "a"), optional)
    assert checked["note"].isna().tolist() == [True, True, True, False]
    arrays = data.inputs(checked, optional, ["note"])
    assert arrays["note"].ravel().tolist() == ["", "", "", "a"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (("a", 5), "are not text"),
        (("a", b"bytes"), "are not text"),
        (("a", ["list"]), "are not text"),
        (("a", None), "missing"),
        (("a", ""), "missing"),
        (("a", "secret words, too long"), "longer than 20 characters"),
    ],
)
def test_what_is_no_text_of_the_contract_is_named(values: Any, problem: str) -> None:
    """And not repeated, as a text may be personal."""
    with pytest.raises(ContractError) as error:
        data.check(notes(*values), one_text())
    assert problem in str(error.value) and '"note"' in str(error.value)
    assert "secret" not in str(error.value)


SCHEMA = served.columns(yaml.safe_load(MIXED))


def ask(text: Any) -> list[str]:
    """Return what the model gets of a request with this text."""
    row = {"channel": "mail", "message/text": text}
    arrays = served.inputs([row], SCHEMA, ["message/text"], timed=False)
    return [str(text) for text in arrays["message/text"].ravel()]


def test_a_request_brings_text_of_at_most_so_many_characters() -> None:
    assert ask("A b" + "c" * 997) == ["a b" + "c" * 997]
    assert ask("\ud83d É") == ["e"]
    for wrong, part in (
        (5, "must be text"),
        (True, "must be text"),
        (None, "lacks"),
        ("", "lacks"),
        ("x" * 1_001, "1001 characters; at most 1000"),
    ):
        with pytest.raises(served.RowError, match="message/text") as error:
            ask(wrong)
        assert part in str(error.value)


def test_texts_of_different_lengths_do_not_meet_in_a_batch() -> None:
    """The graph pads short texts: that changes nothing."""
    sent = [{"channel": "mail", "message/text": t} for t in ("a", "a b " * 200, "b")]
    arrays = served.inputs(sent, SCHEMA, ["message/text"], timed=False)
    counts = texts.Texts(min_rows=1, counts=True).fit(pd.DataFrame({"m": ["a b"]}))
    found = counts.transform(pd.DataFrame({"m": arrays["message/text"].ravel()}))
    assert found.tolist() == [[1, 0, 0], [200, 200, 200], [0, 0, 1]]


@pytest.mark.parametrize("sensitive", [False, True])
def test_the_log_keeps_a_text_unless_it_is_sensitive(
    sensitive: bool, tmp_path: Path
) -> None:
    """Retraining, replay and monitor need it; a team may say that it is personal."""
    folder = tmp_path / "version"
    folder.mkdir()
    found = build("reviews", "logistic_regression", folder)
    if sensitive:
        about = {**found.table.contract, "sensitive": ["review"]}
        text = yaml.safe_dump(about, sort_keys=False)
        document = json.loads((folder / "manifest.json").read_text())
        document["contract"] = tiny.contract_hashes(text)
        (folder / "contract.yaml").write_text(text)
        (folder / "manifest.json").write_text(json.dumps(document))
    log = tmp_path / "log"
    log.mkdir()
    sent = {"id": "A-1", "review": "Great \0 👍\r\né \u2028" + "x" * 1_900}
    with tiny.server(folder, "--log", str(log)) as (port, _):
        status, answer = tiny.call(port, "/predict", {"rows": [sent]})
        assert status == 200, answer
        status, refused = tiny.call(port, "/predict", {"rows": [{"review": 5}]})
        assert status == 422 and "'review'" in refused["error"]
    (file,) = log.glob("predictions-*.jsonl")
    (line,) = file.read_text().split("\n")[:-1]
    entry = prediction_log.parse(line)
    assert entry is not None
    assert entry.row == ({} if sensitive else {"review": sent["review"]})


def test_logged_texts_are_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for lines that no server wrote, with a text that it refuses."""
    log = tmp_path / "log"
    log.mkdir()
    made = ("short", "x" * 900, "x" * 1_001)
    lines = [
        prediction_log.line(
            {"id": str(n), "probabilities": {"a": 1.0}, "class": "a"},
            None,
            "0" * 64,
            None,
            "2026-01-02T03:04:05+00:00",
            {"channel": "mail", "message/text": text},
        )
        for n, text in enumerate(made)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (log / "predictions-2026-01-02.jsonl").write_text(text)
    monkeypatch.setenv("PREDICTION_LOG", str(log))
    assert requests.bring(tmp_path, TERMS) == ""
    table = pd.read_parquet(tmp_path / requests.FILE)
    assert table["message/text"].tolist() == [*made[:2]]


def test_edges_stay_within_the_contract() -> None:
    """And reach its end: the longest text of each kind, whatever the end is."""
    for longest in (1, 3, 20, 2_000):
        column = replace(TERMS.columns["message/text"], max_length=longest)
        contract = replace(TERMS, columns={"note": column})
        sample: list[edges.Row] = [{"note": "a"}]
        cases = [*edges.cases(contract, ["note"], sample, ([], ["known", "terms"]))]
        found = [case.row["note"] for case in cases]
        assert all(isinstance(t, str) and 0 < len(t) <= longest for t in found)
        assert max(len(str(text)) for text in found) == longest
        assert edges.complete({}, contract) == {"note": "."}


def test_behaviour_sets_a_text_or_refuses() -> None:
    rule = {"name": "polite", "column": "message/text", "expect": "same"}
    rule |= {"tolerance": 0.1, "allowed": 0.1}
    (parsed,) = behaviour.parse([{**rule, "set": "Frage"}], TERMS)
    rows = data.check(free_text.tickets(20).rows, TERMS)
    assert set(parsed.changed(rows, TERMS)["message/text"]) == {"Frage"}
    for wrong in ({"set": 5}, {"set": ""}, {"set": "x" * 1_001}, {"add": 1}):
        with pytest.raises(ContractError, match="can hold"):
            behaviour.parse([{**rule, **wrong}], TERMS)


def test_free_text_has_no_groups_to_be_fair_to() -> None:
    limits = {"selection_rate_max": 0.1, "equalized_odds_max": 0.1}
    params = {"fairness": {"columns": ["note"], "min_rows": 10, **limits}}
    with pytest.raises(settings.SettingsError, match="free text"):
        settings.fairness(params, one_text())


def test_reports_show_of_a_text_only_how_long_it_is() -> None:
    """In rows that are decided otherwise, and in changes of the data."""
    assert flips._text("secret", "text") == "6 characters"
    assert flips._usual(pd.Series(["a", "a"]), "text") is None
    tables = [data.check(notes(*t), one_text()) for t in (("a", "b"), ("aaa", "bbb"))]
    found = changes._column(
        "note", *changes._texts_measured("note", *tables, one_text())
    )
    assert found.distance and (found.new, found.new_count) == ([], 0)


def test_the_judge_explains_a_text_without_repeating_it(tmp_path: Path) -> None:
    """Two models on tickets: importance, flips, slices, and changes of the data."""
    models, rows = [], pd.DataFrame()
    for name in ("champion", "challenger"):
        (tmp_path / name).mkdir()
        found = build("tickets", "logistic_regression", tmp_path / name)
        rows = found.rows.iloc[:400].reset_index(drop=True)
        rows["message/text"] += " secret"
        model = evaluation.read_model(found.folder)
        assert model
        evaluation.score(model, rows, TERMS)
        models.append(model)
    models[0].predictions = models[0].predictions[:, ::-1]  # it decides otherwise
    wanted = params(["channel", "message/text"], "multiclass")
    context = evaluation.Evaluation(
        contract=TERMS,
        params=wanted,
        gates=gates.parse(wanted, "multiclass"),
        holdout=rows,
        challenger=models[1],
        champion=models[0],
        rows=rows,
        champion_rows=rows.assign(**{"message/text": "another secret"}),
        same_data=False,
    )
    for part in (explain, flips, slices, changes):
        part.add(context)
    judgement = context.judgement
    assert judgement.importance[0].column == "message/text"
    assert judgement.importance[0].challenger[0] > 0.1
    assert [each.column for each in judgement.dependence] == ["channel"]
    assert judgement.flips and judgement.texts == ["message/text"]
    assert judgement.slices and {s.column for s in judgement.slices.rows} <= {"channel"}
    assert b"secret" not in msgspec.json.encode(judgement)


def test_simulated_texts_are_accepted() -> None:
    """As a drift half of the rows get one text."""
    rows = data.check(free_text.tickets(200).rows, TERMS)
    drifted = simulate.drifted(rows, [("message/text", "Rechnung!")], TERMS)
    assert 60 < (drifted["message/text"] == "Rechnung!").sum() < 140
    for batch in simulate.requests(drifted, TERMS, 50):
        served.inputs(batch, SCHEMA, [*SCHEMA], timed=False)
    with pytest.raises(simulate.SimulateError, match="message/text"):
        simulate.drifted(rows, [("message/text", "x" * 1_001)], TERMS)


def test_made_up_rows_have_texts(tmp_path: Path) -> None:
    """The tests that a team has work with a contract of texts."""
    params = {"train": {**small.settings("multiclass"), "columns": [*TERMS.columns]}}
    (tmp_path / "contract.yaml").write_text(MIXED)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    rows = Project(tmp_path).made_up_rows(200)
    assert rows["message/text"].nunique() > 5
    assert rows["message/text"].str.len().max() <= 1_000
