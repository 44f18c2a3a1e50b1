"""On a cluster the results are those of this process, whatever happens to a worker."""

import io
import json
import os
import pickle
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pytest

from machinery import dask_cluster, searched, test_score, tiny, traffic
from machinery.dask_cluster import Workers, waited
from mlgitops import git, settings
from mlgitops.batch import job
from mlgitops.batch.job import Job
from mlgitops.batch.part import Slice
from mlgitops.batch.tables import Batch
from mlgitops.cluster import backend, shipment
from mlgitops.cluster.backend import ClusterError, Local, opened
from mlgitops.commands import experiment, install
from mlgitops.monitor import record, scan, window
from mlgitops.monitor.decide import decide
from mlgitops.monitor.inspect import inspect
from mlgitops.pipeline.contract import ContractError
from mlgitops.prediction_log import file_name
from mlgitops.search.outcome import Outcome
from mlgitops.shipping.ship import ship

T = TypeVar("T")

ROOT = Path.cwd()
COMPUTE = "compute: {{price_per_minute: 0, currency: euros, backend: {}}}\n"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Yield two workers, which every test of this module uses."""
    with dask_cluster.workers(tmp_path_factory.mktemp("cluster"), 2) as started:
        yield started


@pytest.fixture
def dask(
    cluster: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """Return the tasks in a folder with a `model/`; the address is that of workers."""
    from mlgitops.cluster import scheduler

    monkeypatch.setattr(scheduler, "POLL", 0.2)
    monkeypatch.setenv(scheduler.ADDRESS, cluster.address)
    monkeypatch.chdir(tmp_path)
    return dask_cluster.tasks(tmp_path)


@pytest.mark.slow
def test_results_are_in_order_and_those_of_this_process(dask: ModuleType) -> None:
    shared = np.random.default_rng(1).normal(size=100)
    items = [float(n) for n in range(12)]
    local = list(Local().over(dask.scaled, shared)(items))
    with opened("dask", ["numpy"]) as there:
        found = list(there.over(dask.scaled, shared)(items))
        few = list(there.over(dask.scaled, shared, ahead=1)(iter(items)))
    assert [a.tobytes() for a in found] == [a.tobytes() for a in local]
    assert [a.tobytes() for a in few] == [a.tobytes() for a in local]


@pytest.mark.slow
def test_an_error_of_a_task_is_raised_as_here(dask: ModuleType) -> None:
    with opened("dask", []) as there:
        with pytest.raises(ValueError, match="7 is wrong"):
            list(there.over(dask.wrong, 0)([7]))
        with pytest.raises(SystemExit, match="enough"):
            list(there.over(dask.leaves, "enough")([1]))
        assert list(there.over(dask.scaled, 2)([3])) == [12], "the control"


@pytest.mark.slow
def test_a_task_reads_no_request(dask: ModuleType) -> None:
    """Nor does a program that it starts."""
    with opened("dask", []) as there:
        assert list(there.over(dask.reads, 0)([1, 2, 3])) == [b"", b"", b""]


@pytest.mark.slow
def test_two_versions_of_the_code_never_mix(dask: ModuleType, tmp_path: Path) -> None:
    """Not on one cluster, and not where both runs go on at once."""
    with opened("dask", []) as first:
        old = first.over(dask.scaled, 2)
        assert list(old([1])) == [4]
        new = dask_cluster.tasks(tmp_path, dask_cluster.TASKS.replace("= 2", "= 3"))
        with opened("dask", []) as second:
            later = second.over(new.scaled, 2)
            assert list(later([1, 2])) == [6, 12]
            assert list(old([1, 2, 3])) == [4, 8, 12]


@pytest.mark.slow
def test_a_worker_with_another_package_is_refused(
    dask: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found, words in (("0.0.1", "numpy.*0.0.1"), (None, "no package nothere")):
        packages = {"numpy": found} if found else {"nothere": "1"}
        with monkeypatch.context() as patch:
            patch.setattr(shipment, "installed", lambda _, found=packages: found)
            with opened("dask", []) as there, pytest.raises(ClusterError) as error:
                list(there.over(dask.scaled, 1)([1]))
        assert "tcp://127.0.0.1" in str(error.value)
        assert re.search(words, str(error.value))
        assert all(word in str(error.value) for word in packages)


@pytest.mark.slow
def test_a_killed_worker_loses_no_result(dask: ModuleType, cluster: Workers) -> None:
    """Nor does the process that ran its task stay."""
    killed = cluster.worker()
    with opened("dask", []) as there:
        assert waited(lambda: there._threads() == 3)  # type: ignore[attr-defined]
        results, found = there.over(dask.where, 0.1)(range(60)), []
        children: set[int] = set()
        while not children:  # it has had one of the tasks, and has others
            child, parent, item = next(results)
            found.append(item)
            children = {child} if parent == killed.pid else set()
        assert len(found) < 50
        killed.kill()
        killed.wait()
        found += [item for _, _, item in results]
    assert found == list(range(60))
    for child in children:
        assert waited(lambda child=child: not Path("/proc", str(child)).exists())


@pytest.mark.slow
def test_a_slow_worker_changes_no_result(dask: ModuleType, cluster: Workers) -> None:
    """The other one takes most of the tasks."""
    slow = cluster.processes[1].pid
    start = time.monotonic()
    with opened("dask", []) as there:
        found = list(there.over(dask.slow_in_one, slow)(range(24)))
    assert [item for item, _ in found] == list(range(24))
    assert sum(late for _, late in found) < 8
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_too_little_memory_is_a_sentence(dask: ModuleType) -> None:
    with opened("dask", []) as there:
        with pytest.raises(ClusterError, match="memory"):
            list(there.over(dask.large, 0)([4 * dask_cluster.MEMORY]))
        with pytest.raises(ClusterError, match="SIGKILL"):
            list(there.over(dask.dies, 0)([1]))
        assert list(there.over(dask.large, 0)([1_000])) == [1_000], "the control"


@pytest.mark.slow
def test_without_an_address_it_is_started_in_the_job(
    dask: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlgitops.cluster import scheduler

    monkeypatch.delenv(scheduler.ADDRESS)
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # a Python that looks into no folder
    with opened("dask", ["numpy"]) as there:
        results = list(there.over(dask.where, 0)(range(4)))
    assert [item for _, _, item in results] == list(range(4))
    for child, _, _ in results:
        assert child != os.getpid()
        assert waited(lambda child=child: not Path("/proc", str(child)).exists())


def children() -> list[int]:
    """Return the processes of tasks that this one has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if int(parent) == os.getpid() and b"mlgitops.cluster.child" in line:
            found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_long_fit(
    dask: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlgitops.cluster import scheduler

    monkeypatch.delenv(scheduler.ADDRESS)
    with pytest.raises(KeyboardInterrupt), opened("dask", []) as there:
        waiting = there.over(dask.where, 600)(range(9))
        assert waited(lambda: len(children()) > 0)
        start = time.monotonic()
        raise KeyboardInterrupt
    del waiting
    assert time.monotonic() - start < 120, "a task sleeps for 600"
    assert children() == []


@pytest.mark.slow
def test_a_client_that_was_closed_is_a_sentence(
    dask: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is when the scheduler was gone for a while in which nobody asked."""
    from mlgitops.cluster import scheduler

    with opened("dask", []) as there:
        each = there.over(dask.scaled, 1)
        there.client.close()  # type: ignore[attr-defined]
        for begin in (
            lambda: each([1]),
            lambda: there.over(dask.scaled, 2),
            lambda: there.over(dask.scaled, 1, ahead=1),
        ):
            with pytest.raises(ClusterError, match="gone"):
                begin()
    monkeypatch.setenv(scheduler.ADDRESS, "tls://127.0.0.1:9")  # and no certificate
    with pytest.raises(ClusterError, match="no scheduler"), opened("dask", []):
        pass


# What runs there.


def searches(folder: Path, kind: str, where: str) -> Outcome:
    """Return what a search of 150 rows of noise finds, in a repository of its own."""
    what = {
        "search": kind,
        "folds": 2,
        "train.columns": [["x1"], ["x2"], ["x1", "x2"]],
        "train.logistic_regression.C": [-1.0, 0.1],
    }
    folder.mkdir()
    os.chdir(folder)
    shutil.copytree(ROOT / "model", "model")
    searched.write(folder, searched.table(150, 1), what)
    text = Path("params.yaml").read_text() + COMPUTE.format(where)
    Path("params.yaml").write_text(text)
    searched.git.run("add", ".")
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    searched.git.run(*person, "commit", "-qm", "compute")
    return experiment.search()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["grid", "halving"])
def test_a_search_finds_the_same(
    kind: str, dask: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "prepared", searched.prepared)
    local = searches(tmp_path / "local", kind, "local")
    there = searches(tmp_path / "there", kind, "dask")

    def facts(found: Outcome) -> object:
        rows = [(row.trial.name, row.trial.scores, row.low) for row in found.rows]
        failed = [(trial.name, trial.problem) for trial in found.failed]
        return found.current.scores, rows, failed, found.confirmed

    assert facts(there) == facts(local)
    assert len(there.rows) == 3 or kind == "halving"
    lines = Path("build", "search.jsonl").read_text().split()
    assert lines, "each trial is in the journal, so that a stopped search goes on"


def log_lines(folder: Path) -> list[dict[str, object]]:
    (file,) = folder.iterdir()
    found = [json.loads(line) for line in file.read_text().splitlines()]
    return [{**line, "logged_at": ""} for line in found]


@pytest.mark.slow
def test_rows_are_scored_the_same(
    dask: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows without a prediction, the log and the bytes of the file as well."""
    monkeypatch.setattr(job, "ROWS", 100)
    (tmp_path / "version").mkdir()
    tiny.version(tmp_path / "version")
    source = test_score.write(test_score.bad(), tmp_path / "rows.csv")
    said = []
    for where in ("local", "dask"):
        out, log = tmp_path / f"{where}.parquet", tmp_path / f"{where}.log"
        facts = (source, out, tmp_path / "version", log)
        said.append(Job(*facts, version="v1.0.0", backend=where).run())
    assert said[0].replace("local", "dask") == said[1]
    local, there = (tmp_path / f"{name}.parquet" for name in ("local", "dask"))
    assert there.read_bytes() == local.read_bytes()
    refused = [Path(f"{file}.refused.jsonl").read_bytes() for file in (local, there)]
    assert refused[0] == refused[1]
    assert log_lines(tmp_path / "dask.log") == log_lines(tmp_path / "local.log")


@pytest.mark.slow
def test_a_cluster_that_is_lost_is_a_sentence_and_loses_nothing(
    dask: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First its last worker, in the middle of a file; then its scheduler."""
    from mlgitops.cluster import scheduler

    monkeypatch.setattr(job, "ROWS", 20)
    (tmp_path / "version").mkdir()
    tiny.version(tmp_path / "version")
    source = test_score.write(test_score.rows(), tmp_path / "rows.parquet")
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    Job(source, whole, tmp_path / "version").run()
    with dask_cluster.workers(tmp_path / "another", 1) as other:
        monkeypatch.setenv(scheduler.ADDRESS, other.address)
        run = Job(source, out, tmp_path / "version", backend="dask")
        with opened("dask", []) as there:
            waiting = there.over(dask.where, 0.2)(range(20))
            assert next(waiting)[2] == 0
            results = run._scored(0)

            def stopped(start: int) -> Iterator[object]:
                yield next(results)
                other.processes[1].kill()
                with monkeypatch.context() as patch:
                    patch.setattr(scheduler, "ALONE", 1.0)
                    yield from results

            monkeypatch.setattr(run, "_scored", stopped)
            with pytest.raises(ClusterError, match="no worker"):
                run.run()
            other.scheduler.kill()
            with pytest.raises(ClusterError, match="gone"):
                list(waiting)
        monkeypatch.setattr(scheduler, "GONE", 1.0)
        with pytest.raises(ClusterError, match="no scheduler"), opened("dask", []):
            pass
    assert not out.exists() and list(tmp_path.glob("out.parquet.parts/*.arrow"))
    del run  # and its hold on the parts
    assert "400 predictions" in Job(source, out, tmp_path / "version").run()
    assert out.read_bytes() == whole.read_bytes()


def a_log(folder: Path) -> str:
    """Ship rows, repeated, late, torn and ahead ones too, in 12 parts; say where."""
    days, now = folder / "log", traffic.flights(1_800)
    days.mkdir(parents=True)
    late = traffic.flights(60, day=-40, days=3, seed=1)
    ahead = traffic.flights(20, day=9_000, seed=2)
    odd = [*traffic.lines(late), *traffic.lines(ahead), "{", "\xff", "{}"]
    odd += traffic.lines(traffic.flights(50, seed=3), sha="b" * 64)
    good, repeated = traffic.lines(now), traffic.lines(now[::9])
    texts = random.Random(0).sample([*good, *odd, *repeated], k=2_133)
    for part in range(12):
        text = "\n".join(texts[part::12]) + "\n" * (part < 11)
        (days / file_name(f"2020-01-{1 + part // 2:02}")).write_text(text)
        ship(days, str(folder / "sink"))
    return str(folder / "sink")


def recorded(source: str, where: str) -> bytes:
    """Return the record of a look at a log, as the ledger has it."""
    limits = traffic.limits(max_corrupt=1.0, max_duplicate=1.0)
    log = window.read_log(source, limits, 28, backend=where)
    seen = inspect(traffic.reference(), log, None, traffic.PARAMS)
    found = decide(seen.evidence, limits)
    entry = record.build("v1.0.0", traffic.SHA, seen, found, limits)
    return json.dumps(entry, indent=1).encode()


@pytest.mark.slow
def test_a_log_gives_the_same_record_while_a_worker_is_killed(
    dask: ModuleType, cluster: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops with parts that it has begun, is killed then, and others read these."""
    from distributed import Client

    source = a_log(tmp_path / "made")
    local = recorded(source, "local")
    monkeypatch.setattr(scan, "FEW", 2)
    monkeypatch.setattr(scan, "TOGETHER", 1)
    killed, had, ended = cluster.worker(), list[bool](), threading.Event()
    monkeypatch.setattr(window, "_parsed", _told(window._parsed, ended))
    with opened("dask", []) as there:
        assert waited(lambda: there._threads() == 3)  # type: ignore[attr-defined]
        pids = there.client.run(os.getpid)  # type: ignore[attr-defined]
        (address,) = (name for name, pid in pids.items() if pid == killed.pid)
    killed.send_signal(signal.SIGSTOP)

    def kill() -> None:
        with Client(cluster.address, set_as_default=False) as client:
            has = lambda: bool(client.processing([address])[address])  # noqa: E731
            waited(lambda: has() or ended.is_set())
            had.append(has() and not ended.is_set())
        killed.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    assert recorded(source, "dask") == local
    killing.join()
    assert had == [True], "it had parts, and was waited for"


def _told(function: Callable[..., T], ended: threading.Event) -> Callable[..., T]:
    def called(*args: Any) -> T:
        found = function(*args)
        ended.set()
        return found

    return called


# Without a cluster.


def test_workers_must_have_what_reads_a_part() -> None:
    """What they lack is a sentence then, and not an import that fails."""
    code = "import sys, mlgitops.monitor.scan; print(*sys.modules)"
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    asked = [sys.executable, "-S", "-c", code]
    told = subprocess.check_output(asked, env=path, text=True)
    loaded = {n.partition(".")[0] for n in told.split() if "cython" not in n}
    others = loaded - sys.stdlib_module_names - {"mlgitops", "_yaml", "__main__"}
    assert {{"yaml": "pyyaml"}.get(name, name) for name in others} <= {*scan.PACKAGES}


def test_an_unknown_backend_is_refused() -> None:
    for name, words in (("dsk", "local or dask, got 'dsk'"), ("4", "local or dask")):
        params = settings.load(COMPUTE.format(name).encode())
        with pytest.raises(ContractError, match=words):
            settings.backend(params)
    assert settings.backend(settings.load(COMPUTE.format("dask").encode())) == "dask"
    plain = b"compute: {price_per_minute: 0, currency: euros}"
    for text in (plain, b"train: {}"):
        assert settings.backend(settings.load(text)) == "local"


def test_without_dask_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mlgitops.cluster.scheduler", raising=False)
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ClusterError, match="dask is not installed"):
        with opened("dask", []):
            pass
    with opened("local", []) as here:
        assert list(here.over(pow, 2)([3])) == [8], "the control"


def test_this_process_begins_an_item_when_it_is_asked_for() -> None:
    begun = list[int]()
    results = backend.Local().over(lambda shared, item: begun.append(item), None)(
        [1, 2]
    )
    assert begun == []
    next(results)
    assert begun == [1]


def test_dask_is_installed_where_the_settings_name_it(tmp_path: Path) -> None:
    params, there = tmp_path / "params.yaml", {}
    cases = {
        "compute:\n  currency: x # backend: dask\n": False,
        "compute:\n  backend: dask # a reason\n": True,
        "compute: {backend: 'dask'}\n": True,
        "compute:\n  backend: local\nother:\n  backend: dask\n": False,
        "# compute: {backend: dask}\n": False,
        'compute: {currency: "#", backend: dask}\n': True,
        'compute: {currency: "a # b", backend: dask}\n': True,
        '"compute" :\n  "backend" : dask\n': True,
        "compute:\n  backend:\n    dask\n": True,
        '{\n  "compute": {"backend": "dask"}\n}\n': True,
        "\ufeffcompute:\n  backend: dask\n": True,
        "compute:\n  currency: x#y # backend: dask\n": False,
    }
    lock = install.MACHINERY / "requirements" / "dask.txt"
    for text, wanted in cases.items():
        params.write_text(text, encoding="utf-8")
        there[text] = install.cluster(params) == [lock]
        assert there[text] == (wanted and lock.is_file()), text
    params.write_bytes(b"# caf\xe9\ncompute:\n  backend: dask\n")
    assert bool(install.cluster(params)) == lock.is_file(), "no traceback"


def test_the_same_code_has_the_same_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model" / "rates.csv"
    file.parent.mkdir()
    hashes = []
    for text in ("1", "1", "2"):
        file.write_text(text)
        os.utime(file, (len(hashes), len(hashes)))
        hashes.append(shipment.shipment([]).sha256)
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_part_is_sent_without_what_was_read_with_it() -> None:
    """A file's rows are read by the hundred thousand, and sent by fewer."""
    count = 200_000
    names = pa.array([str(n) for n in range(count)])
    table = pa.table({"n": pa.array(range(count)), "name": names}).slice(500, 100)
    sent = pickle.dumps(Slice(Batch(500, 100, table), "now"))
    assert len(sent) < 10_000
    start, rows, found = pickle.loads(sent).batch
    assert (start, rows) == (500, 100) and found.equals(table)


def test_what_git_ignores_does_not_go_to_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what a link names elsewhere; what DVC brings goes, which Git ignores, too."""
    home = tmp_path / "home"
    (home / "model").mkdir(parents=True)
    monkeypatch.chdir(home)
    git.run("init", "-q")
    (tmp_path / "outside").write_text("a login")
    Path("model", "link").symlink_to(tmp_path / "outside")
    Path(".gitignore").write_text(".env\nlogin.json\n")
    Path("model", ".gitignore").write_text("/it.onnx\n")
    for name in (".env", "login.json", "it.onnx", "it.onnx.dvc", "features.py"):
        Path("model", name).write_text(name)

    def sent() -> set[str]:
        with zipfile.ZipFile(io.BytesIO(shipment.shipment([]).code)) as archive:
            names = archive.namelist()
        assert len(names) == len(set(names))
        return {name for name in names if name.startswith("model/")}

    known = {"model/features.py", "model/it.onnx", "model/it.onnx.dvc"}
    assert sent() == known
    git.run("add", ".")
    assert sent() == known
    shutil.rmtree(".git")
    assert "model/.env" not in sent() and sent() >= known
