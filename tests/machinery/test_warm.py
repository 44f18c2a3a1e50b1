"""What a fork would not heed is asked of the real Python."""

import subprocess

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
