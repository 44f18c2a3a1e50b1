"""One call of the real ``act``: an unchanged workflow on this machine, no container."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LEG = "forge-leg"  # the output by which an emptied job says its environment
STAND_INS = Path(__file__).parents[1] / "actions"
# In every job act asks where node is: to start it takes longer than a small job.
NODE = """\
#!/bin/sh
if [ "$*" = "--no-warnings -e console.log(process.execPath)" ]; then
  echo {node}
else
  exec {node} "$@"
fi
"""
# Of a step that fails act does not read the terminal to its end, so its last words,
# which say why, are lost at times: here such a step ends when the forge has them all.
# Behind them is a mark: a character that nobody writes, and who waits.
END = re.compile(r"\x1e(\d+)$")
BASH = """\
#!/bin/sh
[ "$FORGE_HEARD" ] || exec {bash} "$@"  # not the shell of a step: what it starts
heard=$FORGE_HEARD.$$
unset FORGE_HEARD
{bash} "$@" && exit
code=$?
rm -f "$heard"
printf '\\036%s\\n' $$
for _ in $(seq 6000); do  # a secret that is a number would mask who waits
  [ -e "$heard" ] && break
  sleep 0.01
done
exit $code
"""


@dataclass
class Call:
    """The arguments of one call of act."""

    event: str
    workflow: str  # path of the workflow file inside ``folder``
    folder: Path
    payload: Path
    cache: Path  # workspaces and RUNNER_TOOL_CACHE
    log: Path
    actor: str
    env: dict[str, str]  # of the act process, inherited by the steps
    github: dict[str, str]  # what act itself must be told (GITHUB_...)
    secrets: dict[str, str]
    variables: dict[str, str]
    actions: dict[str, str]  # "owner/name@ref" -> stand-in folder
    heard: Path  # with the number of a step: is there when the log has its last words
    silent: set[str]  # jobs that are kept out of the log
    leg: str = ""  # the only one to run of a matrix of environments


@dataclass
class Outcome:
    """The results of one call of act."""

    code: int = 1
    jobs: dict[str, str] = field(default_factory=dict)  # job id -> result
    summary: str = ""
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    legs: list[str] = field(default_factory=list)  # environments, as LEG names them


def write_programs(folder: Path) -> None:
    """Write a `node` that says where node is, and a `bash` whose last words are read.

    Both start the real one for the rest.
    """
    folder.mkdir()
    for name, text in (("node", NODE), ("bash", BASH)):
        if real := shutil.which(name):
            program = folder / name
            path = shlex.quote(os.path.realpath(real))
            program.write_text(text.format(**{name: path}))
            program.chmod(0o755)


def run(call: Call, started: Callable[[], None]) -> Outcome:
    """Run act to its end and write a readable log; call ``started`` when there is one.

    The secrets go through a pipe: they are on no command line and in no file.
    """
    reader, writer = os.pipe()
    with open(writer, "w", encoding="utf-8") as pipe:
        pipe.writelines(f"{k}={_quoted(v)}\n" for k, v in call.secrets.items())
    command = _command(call, reader)
    outcome = Outcome()
    with call.log.open("a", encoding="utf-8", buffering=1) as log:
        with subprocess.Popen(
            command, env=call.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, pass_fds=(reader,), start_new_session=True,
        ) as process:  # fmt: skip
            os.close(reader)
            started()
            assert process.stdout
            for line in process.stdout:
                _parse(line.decode(errors="replace"), log, call, outcome)
        outcome.code = process.returncode
    return outcome


def _command(call: Call, secrets: int) -> list[str]:
    """Return the command line."""
    pairs = [("--local-repository", f"{k}={v}") for k, v in call.actions.items()]
    pairs += [("--env", f"{k}={v}") for k, v in call.github.items()]
    pairs += [("--var", f"{k}={v}") for k, v in call.variables.items()]
    labels = {"ubuntu-latest", *_own_labels(call.variables)}
    pairs += [("--platform", f"{label}=-self-hosted") for label in sorted(labels)]
    pairs += [("--matrix", f"environment:{call.leg}")] if call.leg else []
    return [
        "act", call.event, "--directory", str(call.folder),
        "--workflows", call.workflow, "--eventpath", str(call.payload),
        "--secret-file", f"/dev/fd/{secrets}", "--actor", call.actor,
        "--action-cache-path", str(call.cache), "--action-offline-mode",
        "--no-skip-checkout", "--no-cache-server", "--concurrent-jobs", "1", "--json",
        *itertools.chain.from_iterable(pairs),
    ]  # fmt: skip


def _own_labels(variables: dict[str, str]) -> Iterator[str]:
    """Yield the labels of runners of one's own, which this machine is, too."""
    for name, value in variables.items():
        if name.startswith("RUNNER_"):
            yield from json.loads(value)


def _quoted(value: str) -> str:
    """Quote a secret for act's file of secrets."""
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + text.replace("\n", "\\n") + '"'


def _parse(line: str, log: IO[str], call: Call, outcome: Outcome) -> None:
    """Take results and summaries out of one line of act's JSON; log its message."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        log.write(line)
        return
    job = str(entry.get("jobID", "act"))
    message = ANSI.sub("", str(entry.get("msg", ""))).rstrip("\r\n")
    if ended := END.search(message):
        message = message[: ended.start()]
    if "jobResult" in entry:
        outcome.jobs[job] = str(entry["jobResult"])
    if entry.get("command") == "set-output" and len(entry["stepID"]) == 1:
        outcome.legs += [str(entry["arg"])] if entry["name"] == LEG else []
        steps = outcome.outputs.setdefault(job, {})
        step, mark = str(entry["stepID"][0]), "FORGE_END"
        lines = f"{entry['name']}<<{mark}\n{entry['arg']}\n{mark}\n"
        steps[step] = steps.get(step, "") + lines
    if entry.get("command") == "summary":
        outcome.summary += str(entry["content"])
    elif job in call.silent or (ended and not message):
        pass
    elif "LocalRepositoryCache" not in message and "docker connection" not in message:
        mark = "  | " if entry.get("raw_output") else " "
        log.write(f"[{job}]{mark}{message}\n")
    if ended:
        Path(f"{call.heard}.{ended[1]}").touch()
