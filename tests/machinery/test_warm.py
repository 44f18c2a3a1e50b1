"""What a fork would not heed is asked of the real Python."""

import subprocess
from pathlib import Path

import pytest

from machinery import warm


@pytest.mark.parametrize(
    ("variables", "forked"),
    [
        ({}, True),
        ({"OMP_NUM_THREADS": "1"}, True),
        ({"OMP_NUM_THREADS": "2"}, False),
        ({"PYTHONHASHSEED": "1"}, False),
    ],
)
def test_what_is_fixed_at_the_start_needs_a_start(
    variables: dict[str, str], forked: bool
) -> None:
    words = {"python": "/bin/echo", "ask": "warm_ask.py", "address": "socket"}
    program = ("sh", "-c", warm.PROGRAM.format(**words), "python")
    command = (*program, "-m", "mlgitops", "train", "rows")
    said = subprocess.run(command, env=variables, capture_output=True, check=True)
    assert (b"warm_ask.py" in said.stdout) == forked


FORKED = """
import os

def test_the_server_is_the_parent():
    assert os.getppid() == {server}
"""


def test_who_asks_at_once_waits_until_it_has_started(tmp_path: Path) -> None:
    """And a program that is asked for is a fork of it."""
    server, text = warm.serving(warm.COLD, tmp_path)
    program = tmp_path / "python"
    program.write_text(text)
    program.chmod(0o755)
    try:
        command = (
            program,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "test_it.py",
        )
        (tmp_path / "test_it.py").write_text(FORKED.format(server=server.pid))
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr
    finally:
        server.communicate(timeout=60)
