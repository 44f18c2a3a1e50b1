"""A campaign of faults against the host agent, drawn at random.

Kills, a network and a disk with faults, damaged files, a clock that jumps, second
agents, good and bad releases, in any order and on top of one another. After each step
the last good version serves or the reason is told, and never does a bad one serve. A
share here, 1,000 steps with PROOF=1; SEED=n plays another campaign.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from machinery import test_agent, tiny
from machinery.test_agent import TOKEN, World, children, gone
from machinery.test_agent_faults import DAMAGE, ODD, Faulty, fill, limited
from mlgitops.host import agent

STEPS = 1_000 if os.environ.get("PROOF") else 22
SEED = int(os.environ.get("SEED", "1"))
PATIENCE = 120.0  # seconds for what a step has to lead to
YEAR = 365 * 86_400
LIMITS = {  # short ones: a campaign has many hangs
    "GIT_SECONDS": 0.75,
    "DOWNLOAD_SECONDS": 0.5,
    "LOOK_SECONDS": 1.5,
    "FETCH_SECONDS": 1.5,
    "START_SECONDS": 1.5,
    "TEND_SECONDS": 0.1,
    "MAX_RETRY_SECONDS": 0.2,
    "MAX_BACKOFF_SECONDS": 0.1,
    "BIND_SECONDS": 1,
}

pytestmark = pytest.mark.slow
world = test_agent.world


class Campaign:
    """One host with its agent, and what must be true of it."""

    def __init__(self, world: World, chance: random.Random, disk: bool) -> None:
        self.world, self.chance, self.disk = world, chance, disk
        self.home = world.home / "agent"
        self.good: dict[str, str] = {}  # manifest -> version
        self.named = ""  # the manifest that the ledger names
        self.served = ""  # the last good one that served
        self.recent = set[str]()  # what may serve: named since all was well, or served
        self.faults: set[str] = set()  # that last until `heal`
        self.forgotten = False  # state.json was damaged since it was last settled
        self.number, self.told, self.steps = 0, 0, list[str]()
        self.count = Counter[str]()
        self.handler = type("Handler", (Faulty,), {})
        world.api.RequestHandlerClass = self.handler
        self.world.api.handle_error = lambda *_: None  # of connections that it breaks
        self.stand_in()
        self.env: dict[str, str] = {}
        self.seen, self.stop = set[str](), threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        self.start()

    def stand_in(self) -> None:
        """Put a server that starts at once, and a git that can hang, in their place."""
        self.world.git("checkout", "-q", "main")
        serving = self.world.work / "mlgitops/serving"
        shutil.rmtree(serving)
        serving.mkdir()
        (serving / "__init__.py").touch()
        shutil.copy(tiny.ROOT / "mlgitops/serving/verify.py", serving)
        source = Path(__file__).with_name("standin.py")
        shutil.copy(source, serving / "__main__.py")
        self.world.git("add", "-A")
        self.world.git("commit", "-qm", "stand-in")
        self.world.commit = self.world.git("rev-parse", "HEAD")
        self.world.git("push", "-q", str(self.world.bare), "main")
        self.world.git("checkout", "-q", "--orphan", "ledger")
        self.world.git("rm", "-rfq", ".")
        shim = self.world.home / "bin/git"
        shim.parent.mkdir()
        flag = self.world.home / "hang"
        text = f"#!/bin/sh\n[ -e {flag} ] && exec sleep 600\n"
        shim.write_text(text + f'exec {shutil.which("git")} "$@"\n')
        shim.chmod(0o755)

    def watch(self) -> None:
        """Note all that the public port ever answers."""
        while not self.stop.wait(0.05):
            self.seen.add(self.serves())

    def serves(self) -> str:
        """Return which manifest the public port answers with, or nothing."""
        try:
            return self.world.serves() or ""
        except ValueError:  # half an answer of a server that was killed
            return ""

    # What may happen.

    def start(self) -> None:
        path = f"{self.world.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = os.environ | {"AGENT_TOKEN": TOKEN, "PATH": path} | self.env
        command = limited(self.world, "--poll", "0.1", **LIMITS)
        with (self.world.home / "agent.err").open("a") as errors:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stderr=errors, env=env
            )

    def publish(self, model: str) -> str:
        """Publish a version whose model is a text of the stand-in."""
        self.number += 1
        version = f"v1.{self.number}.0"
        folder = self.world.home / "published" / version
        data = model.encode()
        identity = tiny.version(
            folder,
            golden=[{"row": tiny.ROW, "probability": 0.5}],
            code={"sha256": f"{self.number:064x}"},
            model={
                "file": "model.onnx",
                "sha256": tiny.sha256(data),
                "bytes": len(data),
            },
        )
        (folder / "model.onnx").write_bytes(data)
        self.world.api.releases[f"flights@{version}"] = folder
        self.world.name(version, identity)
        self.named = identity
        if model == "0":
            self.good[identity] = version
            self.recent.add(identity)
        return identity

    def release(self) -> None:
        self.publish("0")

    def bad_release(self) -> None:
        self.publish(self.chance.choice(["0.25", "crash", "nonsense", "silent"]))

    def roll_back(self) -> None:
        identity = self.chance.choice([*self.good])
        self.world.name(self.good[identity], identity)
        self.named = identity
        self.recent.add(identity)

    def kill(self) -> None:
        servers = children(self.process)
        self.process.kill()
        self.process.wait()
        self.world.until(lambda: all(map(gone, servers)))

    def kill_agent(self) -> None:
        self.kill()
        self.start()

    def stop_agent(self) -> None:
        """However much hangs, it ends in seconds."""
        self.process.terminate()
        self.process.wait(60)  # what hangs does so for 600
        self.start()

    def kill_server(self) -> None:
        for number in children(self.process):
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def break_network(self) -> None:
        kinds = ("cut", "trickle", "hang", "portal")
        self.handler.fault = self.chance.choice(kinds)
        self.faults.add("network")

    def break_api(self) -> None:
        self.world.api.broken = True
        self.faults.add("network")

    def hang_git(self) -> None:
        (self.world.home / "hang").touch()
        self.faults.add("network")

    def move_repository(self) -> None:
        if self.world.bare.exists():
            self.world.bare.rename(self.world.home / "away")
        self.faults.add("repository")

    def set_proxy(self) -> None:
        """Start the agent where every address of the network leads nowhere."""
        self.env = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        self.faults.add("network")
        self.kill_agent()

    def fill_disk(self) -> None:
        if self.disk:
            fill(self.home)
            self.faults.add("disk")

    def set_clock(self) -> None:
        """Leave files behind as a clock does that was a year ahead or behind."""
        for path in self.home.glob("*/*"):
            moment = time.time() + self.chance.choice([-YEAR, 0, YEAR])
            try:
                os.utime(path, (moment, moment))
            except OSError:  # just removed
                continue

    def damage_state(self) -> None:
        self.kill()
        texts = [json.dumps(odd) for odd in ODD] + ["", "{", "[" * 50_000]
        texts += ['{"running": 5}', '{"failed": 5}', '{"report": {}, "used": 1}']
        agent.remove(self.home / "state.json")
        try:
            (self.home / "state.json").write_text(self.chance.choice(texts))
        except OSError:
            assert "disk" in self.faults
        self.forgotten = True
        self.start()

    def damage_clone(self) -> None:
        clone = self.chance.choice([self.home / "git", self.home / "main/git"])
        if clone.is_dir():
            try:
                self.chance.choice([*DAMAGE.values()])(clone)
            except OSError:  # a full disk, or the agent makes it again at this moment
                return

    def damage_release(self) -> None:
        """Alter what would be needed to resume."""
        for path in (self.home / "releases").glob("*/model/model.onnx"):
            with path.open("r+b") as file:
                file.write(b"?")

    def second_agent(self) -> None:
        """One more on this port refuses, and does no harm."""
        other = ("--home", str(self.world.home / "other"))
        command = limited(self.world, *other, BIND_SECONDS=0.1)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and str(self.world.port) in done.stderr

    def heal(self) -> None:
        """Take all faults away: from here the newest good version has to come."""
        self.handler.fault, self.world.api.broken = "", False
        (self.world.home / "hang").unlink(missing_ok=True)
        if not self.world.bare.exists():
            (self.world.home / "away").rename(self.world.bare)
        (self.home / "full").unlink(missing_ok=True)
        self.faults.clear()
        if self.env:
            self.env = {}
            self.kill_agent()

    # What must be true.

    def words(self) -> str:
        """Return what the agent said since the last step."""
        return self.world.words()[self.told :]

    def recorded(self, name: str) -> dict[str, Any]:
        """Return a part of state.json; nothing when it is damaged and not yet read."""
        try:
            part = self.world.state().get(name)
        except (ValueError, TypeError, OSError, RecursionError):
            return {}
        return part if isinstance(part, dict) else {}

    def lost(self) -> bool:
        """Tell whether what it needs to resume is gone from this disk."""
        files = (self.home / "releases").glob(f"{self.served[:16]}-*/model/model.onnx")
        try:
            return self.forgotten or [path.read_bytes() for path in files] != [b"0"]
        except OSError:  # it is being removed
            return True

    def holds(self) -> bool:
        """Tell whether the last good version serves, or the reason is told."""
        if self.process.poll() is not None:
            return False
        serves = self.serves()
        if self.faults:
            reason = "again" in self.words() or "resumed" in self.words()
            if serves == "":  # only where nothing is left to resume from
                return reason and self.lost()
            wanted = self.named if self.named in self.good else self.served
            return serves == wanted or (reason and serves in self.recent)
        running, failed = self.recorded("running"), self.recorded("failed")
        if self.named in self.good:
            identity = running.get("manifest_sha256")
            return serves == self.named == identity and not failed
        refused = failed.get("manifest_sha256") == self.named and failed.get("reason")
        return bool(refused) and (serves == self.served or self.lost())

    def check(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.holds():
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"seed {SEED}, steps {self.steps[-9:]}, faults {self.faults}: "
                    f"{self.serves()} serves, {self.served} did, {self.named} is named "
                    f"({self.good.get(self.named)}), {self.recorded('failed')}, "
                    f"{self.words()[-3_000:]}"
                )
            time.sleep(0.05)
        serves = self.serves()
        if serves in self.good:
            self.served = serves
            if not self.faults and self.named in self.good:
                self.forgotten, self.recent = False, {serves}
        bad = self.seen - {*self.good, ""}
        assert not bad, (self.steps, bad)
        assert "Traceback" not in self.words()

    def step(self, action: Callable[[], None]) -> None:
        name = action.__name__
        self.told = len(self.world.words())
        self.steps.append(name)
        self.count[name] += 1
        action()
        self.check()

    def end(self) -> None:
        self.stop.set()
        self.watcher.join()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def campaign(world: World) -> Iterator[Campaign]:
    """Yield a campaign on a small disk, where root may mount one."""
    home = world.home / "agent"
    home.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(home))
    disk = not os.geteuid()
    disk = disk and not subprocess.run(mount, capture_output=True).returncode
    try:
        found = Campaign(world, random.Random(SEED), disk)
        try:
            yield found
        finally:
            found.end()
    finally:
        if disk:
            subprocess.run(("umount", "-l", str(home)), check=True)


def test_a_campaign_of_faults(campaign: Campaign) -> None:
    """Drawn from a bag, so that in each round everything happens once; heals more."""
    here = campaign
    faults = [
        *(here.kill_agent, here.stop_agent, here.kill_server, here.second_agent),
        *(here.break_network, here.break_api, here.hang_git, here.move_repository),
        *(here.set_proxy, here.fill_disk, here.set_clock),
        *(here.damage_state, here.damage_clone, here.damage_release),
    ]
    releases = [here.release, here.release, here.bad_release, here.roll_back]
    actions = [*faults, *releases, *(4 * [here.heal])]
    started = time.monotonic()
    here.step(here.release)
    for number in range(STEPS):
        if number % len(actions) == 0:
            here.chance.shuffle(actions)
            print(f"seed {SEED}: {number} steps", flush=True)
        action = actions[number % len(actions)]
        if not here.world.bare.exists() and action in releases:
            here.step(here.heal)  # nobody can push there
        here.step(action)
    here.step(here.heal)
    here.step(here.release)
    seconds = time.monotonic() - started
    print(f"seed {SEED}: {STEPS} steps in {seconds:.0f} s: {dict(here.count)}")
