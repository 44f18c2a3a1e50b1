"""Code of `model/` depends on its rows alone; else the stage names the line."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machinery import test_pipeline
from mlgitops.judge import rows as judged
from mlgitops.pipeline import prepare as stage
from mlgitops.pipeline import purity
from mlgitops.pipeline.contract import ContractError

HEAD = '"""Cleaning."""\n\nimport numpy as np\nimport pandas as pd\n'


def function(folder: Path, text: str) -> Callable[..., Any]:
    """Write model/prepare.py; return its function."""
    file = folder / "model" / "prepare.py"
    file.parent.mkdir()
    file.write_text(text)
    names: dict[str, Any] = {}
    exec(compile(text, str(file), "exec"), names)  # as a stage loads it
    found: Callable[..., Any] = names["prepare"]
    return found


IMPURE = {  # what a line does, and the line of the file
    'rows.merge(pd.read_csv("airports.csv"))': 8,
    'rows.merge(pd.read_parquet("data/weather.parquet"))': 8,
    "rows.assign(age=pd.Timestamp.now() - rows['born'])": 8,
    "rows.assign(age=pd.Timestamp.today() - rows['born'])": 8,
    "rows.iloc[np.random.permutation(len(rows))]": 8,
    "rows.iloc[np.random.default_rng(1).permutation(len(rows))]": 8,
    "rows.assign(note=open('note').read())": 8,
}


@pytest.mark.parametrize("code", IMPURE)
def test_what_reads_or_draws_is_refused_with_its_line(
    code: str, tmp_path: Path
) -> None:
    """The judge has the rows of a proposal, and nothing else."""
    text = f"{HEAD}\n\ndef prepare(rows):\n    return {code}\n"
    with pytest.raises(ContractError) as refused:
        purity.demand(function(tmp_path, text), "join before")
    line = IMPURE[code]
    assert re.match(rf"model/prepare\.py:{line}: .*: join before$", str(refused.value))


IMPORTS = (
    *("import os", "from pathlib import Path", "import urllib.request", "import time"),
    *("from numpy.random import default_rng", "import random, math"),
)


@pytest.mark.parametrize("line", IMPORTS)
def test_a_module_for_it_is_refused(line: str, tmp_path: Path) -> None:
    """Wherever it is imported."""
    text = f"{HEAD}\n\ndef prepare(rows):\n    {line}\n    return rows\n"
    with pytest.raises(ContractError, match=r"^model/prepare\.py:8: "):
        purity.demand(function(tmp_path, text), "")


def test_cleaning_and_constant_times_are_pure(tmp_path: Path) -> None:
    """What most tables need."""
    text = (
        f"{HEAD}from datetime import date, timedelta\n\n\ndef prepare(rows):\n"
        "    rows = rows.drop_duplicates().rename(columns=str.strip)\n"
        "    rows = rows[rows['day'] >= pd.Timestamp(date(2020, 1, 1))]\n"
        "    return rows.assign(x=np.log1p(rows['x']), y=rows['y'].fillna(0))\n"
    )
    purity.demand(function(tmp_path, text), "")
    purity.demand(stage.clean, "")
    purity.demand(len, "")  # not ours


def test_the_stage_refuses_it_and_writes_nothing(tmp_path: Path) -> None:
    """In one sentence, before a pull request, not in the judge after a merge."""
    folder = test_pipeline.copy(tmp_path)
    file = folder / "model/prepare.py"
    file.write_text(
        file.read_text().replace(
            "    return rows\n",
            '    return rows.merge(pd.read_parquet("data/weather.parquet"))\n',
        )
    )
    command = test_pipeline.STAGES["prepare"]["cmd"].split()[2:]
    done = test_pipeline.run(*command, cwd=folder, PYTHONPATH=str(folder))
    assert done.returncode == 1 and done.stdout == ""
    sentence = r"prepare: model/prepare\.py:\d+: pd\.read_parquet is for .* join .*\n"
    assert re.fullmatch(sentence, done.stderr), done.stderr
    assert not (folder / "build").exists()


def test_the_judge_prepares_with_its_own_function() -> None:
    """That of the folder it runs in, which is main's: it imports no other."""
    assert judged.prepare is stage.clean
