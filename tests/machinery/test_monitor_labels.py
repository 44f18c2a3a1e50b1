"""Labels in the forms that people have: read, or refused with an example."""

import codecs
import gzip
from pathlib import Path

import pytest

from machinery import rows, traffic
from machinery.traffic import MONITOR, PARAMS
from mlgitops.monitor import decide, labels, record
from mlgitops.monitor.inspect import inspect
from mlgitops.monitor.labels import Labels, read_labels
from mlgitops.production_data import ProductionDataError

CONTRACT = rows.small()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the cache of thresholds out of the repository."""
    monkeypatch.chdir(tmp_path)


def read(
    place: Path, text: str | bytes, ids: set[str] | None = None, task: str = "binary"
) -> Labels:
    """Return the labels of a file with this text."""
    place.write_bytes(text.encode() if isinstance(text, str) else text)
    known = {str(n) for n in range(200)} if ids is None else ids
    return read_labels(str(place), known, rows.small(task), MONITOR)


PLAIN = "id,late\n1,0\n2,1\n3,0\n"
FORMS = {
    "plain": PLAIN.encode(),
    "windows": PLAIN.replace("\n", "\r\n").encode(),
    "bom": codecs.BOM_UTF8 + PLAIN.encode(),
    "semicolon": PLAIN.replace(",", ";").encode(),
    "tab": PLAIN.replace(",", "\t").encode(),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16, no mark": PLAIN.encode("utf-16-le"),
    "utf-16, big": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "gzip": gzip.compress(PLAIN.encode()),
    "gzip of utf-16": gzip.compress(PLAIN.encode("utf-16")),
    "quoted": b'"id","late"\n"1","0"\n"2","1"\n"3","0"\n',
    "blanks": b" id , late \n 1 , 0 \n 2 ,1\n3, 0\n",
    "fractions": b"id,late\n1.0,0.0\n2.0,1.0\n3.00,0.0\n",
    "words": b"id,late\n1,False\n2,TRUE\n3,false\n",
    "yes and no": b"id,late\n1,no\n2,Yes\n3,N\n",
    "the contract's id": PLAIN.replace("id", CONTRACT.id).encode(),
    "more columns": b"x,late,id\na,0,1\nb,1,2\nc,0,3\n",
    "not known yet": b"id,late\n1,0\n2,1\n3,0\n4,\n5,NULL\n6,NaN\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_are_read_in_the_forms_that_people_have(
    form: str, tmp_path: Path
) -> None:
    for place in (tmp_path / "labels.csv", tmp_path / "labels.csv.gz"):
        found = read(place, FORMS[form])
        assert found.by_id == {"1": 0, "2": 1, "3": 0}
        assert found.counts["corrupt"] == 0
        assert found.counts["blank"] == (3 if form == "not known yet" else 0)


def test_ids_that_the_log_has_as_fractions_are_matched(tmp_path: Path) -> None:
    found = read(tmp_path / "labels.csv", PLAIN, {"1.0", " 2", "3"})
    assert found.by_id == {"1.0": 0, " 2": 1, "3": 0}
    both = read(tmp_path / "labels.csv", "id,late\n1,0\n1.0,1\n", {"1", "1.0"})
    assert both.by_id == {"1": 0, "1.0": 1}, "an id that is there is that one"


def test_numbers_and_classes_are_read_in_their_forms(tmp_path: Path) -> None:
    place = tmp_path / "labels.csv"
    text = "id;late\n1;1,5\n2;-2.5\n3;1e3\n4;\n"
    found = read(place, text, task="regression")
    assert found.by_id == {"1": 1.5, "2": -2.5, "3": 1000.0}
    name = rows.small("multiclass").classes[0]
    found = read(place, f"id,late\n1, {name} \n2,\n", task="multiclass")
    assert found.by_id == {"1": name} and found.counts["blank"] == 1


@pytest.mark.parametrize(
    ("task", "value", "expected"),
    [
        ("binary", "ja", '"ja": "late" must be 0 or 1'),
        ("binary", "2", '"2": "late" must be 0 or 1'),
        ("multiclass", "lots", '"lots": "late" must be one of'),
        ("regression", "12 min", '"12 min": "late" must be a number'),
    ],
)
def test_what_has_no_meaning_is_refused_with_an_example(
    task: str, value: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(ProductionDataError, match=r"9 of 9 lines") as refused:
        text = "id,late\n" + "".join(f"{n},{value}\n" for n in range(9))
        read(tmp_path / "labels.csv", text, task=task)
    assert expected in str(refused.value)


def test_a_header_without_the_columns_is_shown(tmp_path: Path) -> None:
    with pytest.raises(ProductionDataError, match="flight;delayed"):
        read(tmp_path / "labels.csv", "flight;delayed\n1;0\n")
    assert read(tmp_path / "labels.csv", "").by_id == {}, "no labels yet"


@pytest.mark.parametrize("name", labels.ORDER)
def test_f20_a_corrected_label_counts_where_an_order_is_given(
    name: str, tmp_path: Path
) -> None:
    """Whichever comes first in the file; without an order, nobody can say."""
    old, new = ("2024-01-01", "2024-01-02T10:00") if name == "labelled_at" else (1, 2)
    text = f"id,late,{name}\n1,0,{old}\n1,1,{new}\n2,1,{new}\n2,0,{old}\n"
    text += f"3,1,{new}\n3,0,{new}\n4,1,\n4,0,{old}\n5,1,{old}\n5,1,{new}\n"
    found = read(tmp_path / "labels.csv", text)
    assert found.by_id == {"1": 1, "2": 1, "4": 0, "5": 1}
    assert found.counts["corrected"] == 3 and found.counts["contradictory"] == 1
    assert found.contradictory == "3"
    good = "".join(f"{n},1,{new}\n" for n in range(10, 110))
    found = read(tmp_path / "labels.csv", f"id,late,{name}\n1,0,soon\n{good}")
    assert "1" not in found.by_id and found.counts["corrupt"] == 1
    with pytest.raises(ProductionDataError, match='"01/02/2024": "labelled_at" must'):
        read(tmp_path / "labels.csv", f"id,late,{name}\n1,0,01/02/2024\n")


def test_f20_a_later_file_corrects_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "labels-2024-01-01.csv").write_text("id,late\n1,0\n2,1\n3,0\n")
    (tmp_path / "labels-2024-01-02.csv").write_text("id,late\n1,1\n3,0\n4,1\n4,0\n")
    found = read_labels(str(tmp_path), set("1234"), CONTRACT, MONITOR)
    assert found.by_id == {"1": 1, "2": 1, "3": 0}
    assert found.counts["corrected"] == 1 and found.counts["contradictory"] == 1


def test_labels_that_match_no_prediction_are_a_finding(tmp_path: Path) -> None:
    """They are not late: they would be for ever."""
    table = traffic.flights(2000, 80, 28)
    log = traffic.answered(tmp_path / "log", table)
    foreign = table.head(812).assign(flight_id=[f"AA/{n}" for n in range(812)])
    place = traffic.label(tmp_path / "labels.csv", foreign)
    found = inspect(traffic.reference(), log, place, PARAMS)
    decision = decide.decide(found.evidence, MONITOR)
    told = "0 of 812 labels match a prediction; the newest ids look like"
    assert decision.decision == "watch" and told in decision.sentence
    assert '"AA/811" and "0-80-1999"' in decision.sentence
    assert "pending" not in decision.sentence
    check = {c["name"]: c for c in record.checks(found.evidence, MONITOR)}["labels"]
    assert check["passed"] is False and told in check["value"]
    traffic.label(Path(place), table.head(1))
    found = inspect(traffic.reference(), log, place, PARAMS)
    assert decide.decide(found.evidence, MONITOR).decision == "none"
    check = {c["name"]: c for c in record.checks(found.evidence, MONITOR)}["labels"]
    assert check["passed"] and "1 of 813 labels" in check["value"]


def test_an_id_cannot_write_another_line_into_the_log_of_a_job(
    tmp_path: Path,
) -> None:
    """GitHub reads commands at the start of a line; a terminal reads escapes."""
    log = traffic.answered(tmp_path / "log", traffic.flights(2000, 80, 28))
    place = tmp_path / "labels.csv"
    place.write_text('id,late\n"x\n::set-env::\x1b[2J",1\n')
    found = inspect(traffic.reference(), log, str(place), PARAMS)
    sentence = decide.decide(found.evidence, MONITOR).sentence
    assert "x ::set-env:: [2J" in sentence and sentence.isprintable()


def test_labels_of_a_log_that_is_sampled_may_belong_to_other_rows(
    tmp_path: Path,
) -> None:
    log = traffic.answered(tmp_path / "log", traffic.flights(2000, 80, 28))
    log.share = 0.001
    foreign = traffic.flights(500, 80, 28, seed=9)
    place = traffic.label(tmp_path / "labels.csv", foreign)
    found = inspect(traffic.reference(), log, place, PARAMS)
    assert decide.decide(found.evidence, MONITOR).decision == "none"


def test_what_was_dropped_of_the_labels_is_in_the_verdict(tmp_path: Path) -> None:
    table = traffic.flights(2000, 80, 28)
    log = traffic.answered(tmp_path / "log", table)
    place = Path(traffic.label(tmp_path / "labels.csv", table))
    with place.open("a") as file:
        file.write(f"{table['flight_id'][3]},{1 - table['late'][3]}\n")
        file.write(f"{table['flight_id'][4]},\n")
    found = inspect(traffic.reference(), log, str(place), PARAMS)
    check = {c["name"]: c for c in record.checks(found.evidence, MONITOR)}["labels"]
    assert "1 contradictory and dropped (such as id 0-80-3)" in check["note"]
    assert "1 blank" in check["note"]
