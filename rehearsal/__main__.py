"""Play the whole life of a generated repository: `make demo`."""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rehearsal import page, ports, scenes, storages, story, tricks
from rehearsal.forge import Forge
from rehearsal.people import CommandError, Person
from rehearsal.play import Play, PlayError, say
from rehearsal.storages import Service
from rehearsal.targets import Target
from rehearsal.world import World, is_test, nobody_waits, repeats

TEMPLATE = Path(__file__).resolve().parent.parent
OWNER, SLUG = "rita", "flight-delays"
MARK = ".rehearsal"
AGENT = re.compile(r"`(\S+/agent\.py)`")  # as the generated README names it
TOOLS = Path(sys.executable).parent
KINDS = ("branch", "local", *storages.STORAGES)


def main() -> int:
    """Play every step, write summary.json and timeline.html, and print their paths."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".demo"))
    parser.add_argument("--storage", choices=KINDS, default="branch")
    parser.add_argument(
        "--until",
        choices=("deploy", "tricks", "end"),
        default="end",
        help="the last step to play",
    )
    parser.add_argument(
        "--tool-cache",
        type=Path,
        help="where runners keep what they installed, perhaps in an earlier play",
    )
    parser.add_argument(
        "--brief",
        action="store_true",
        help="test no files and no data twice, and nothing in a play that ends early; "
        "look seldom for releases; begin the environment without pip",
    )
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = args.folder.resolve()
    clear(folder)
    for name in ("ARGS", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "PYTHONPYCACHEPREFIX"):
        os.environ.pop(name, None)  # of the make that started this, not of theirs
    # Runners keep the machine's own downloads, as an image of GitHub's would.
    cache = subprocess.run((TOOLS / "uv", "cache", "dir"), capture_output=True)
    os.environ.setdefault("UV_CACHE_DIR", cache.stdout.decode().strip())
    play = Play(folder)
    problem = ""
    with ExitStack() as stack:
        try:
            tool_cache = (args.tool_cache or folder / "tool-cache").resolve()
            world = set_up(play, args, tool_cache, stack)
            perform(world, args.until)
        except (CommandError, PlayError) as error:
            problem = f"\nThe rehearsal stopped: {error}"
        except KeyboardInterrupt:
            problem = "\nInterrupted; nothing is left running."
        except Exception as error:
            name = type(error).__name__
            problem = (
                f"\nThe rehearsal broke: {name}: {error}; see {folder}/failure.log"
            )
        finally:
            summary = play.write_summary()
            if "world" in locals():
                page.write(folder, story.collect(world))
    if problem:
        problem += f"\nlogs: {folder / 'commands.log'} and {folder / 'forge' / 'runs'}"
    say(problem or f"\nAll {len(play.steps)} steps passed.")
    set_up_seconds = play.seconds("generate", "set-up")
    play_seconds = play.seconds() - set_up_seconds
    say(f"set-up {set_up_seconds:.0f} s, play {play_seconds:.0f} s")
    if (folder / "timeline.html").exists():
        say(f"open {folder / 'timeline.html'}")
    say(f"facts: {summary}")
    return 0 if play.ok and not problem else 1


def set_up(
    play: Play, args: argparse.Namespace, tool_cache: Path, stack: ExitStack
) -> World:
    """Generate the repository; start the forge, the accounts and the machines."""
    clone, storage, brief = play.folder / SLUG, args.storage, args.brief
    service = None
    env = {"PATH": f"{TOOLS}:{os.environ['PATH']}"}
    if storage in storages.STORAGES:
        title = f"A storage server for {storage}, and two logins to it"
        with play.step("storage", title) as step:
            served = storages.serving(storage, play.folder / "storage", TOOLS)
            service = stack.enter_context(served)
            env |= service.home(play.folder / "home")
            step.note(storage=service.url)
    with play.step("generate", "A repository, generated with cookiecutter") as step:
        step.note(files=generate(play.folder, storage, service))
    with play.step("set-up", "Its environment, data and first commit: make setup"):
        if brief:
            begin_environment(clone)
        log = play.folder / "commands.log"
        Person("dana", f"{OWNER}/{SLUG}", clone, env, log).make("setup")
    with play.step("publish", "Published, with rules: make push, make github") as step:
        home = play.folder / "forge"
        tested = repeats if args.until == "end" else is_test
        left_out = tested if brief else lambda _: False
        forge = Forge(home, TOOLS, 2, nobody_waits, tool_cache, left_out)
        stack.enter_context(forge)
        world = populate(play, forge, clone, log, env)
        world.service = service
        stack.enter_context(machines(world, 3 if brief else 1))
        publish(world)
        if service:
            give_logins(world, service)
        world.settle(step)
        step.note(environments_for_main_only=", ".join(world.environments()))
    return world


def begin_environment(clone: Path) -> None:
    """Make .venv and put uv there, as `make setup` does with pip in longer.

    Not by `uv venv`: of an environment of its own `uv pip sync` removes uv again.
    """
    venv, lock = clone / ".venv", clone / "mlgitops" / "requirements" / "uv.txt"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", venv), check=True)
    install = ("pip", "install", "--quiet", "--python", venv, "--require-hashes")
    subprocess.run((TOOLS / "uv", *install, "-r", lock), check=True)


def give_logins(world: World, service: Service) -> None:
    """Set the secrets that `python -m mlgitops logins --send` sets."""
    for name in world.environments():
        login = service.secret(service.writer)
        world.forge.secret(world.repo, "STORAGE_LOGIN", login, name)
    login = service.secret(service.reader)
    world.forge.secret(world.repo, "STORAGE_READ_LOGIN", login)


def generate(folder: Path, storage: str, service: Service | None = None) -> int:
    """Bake the template as a user would; return how many files it has."""
    from cookiecutter.main import cookiecutter

    template = folder / "template"
    for name in source_files():
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TEMPLATE / name, template / name)
    answers = {"project_slug": SLUG, "github_owner": OWNER, "storage": storage}
    if storage == "local":
        answers["storage_url"] = str(folder / "storage")
    if service:
        answers["storage_url"] = service.url
    project = cookiecutter(
        str(template), no_input=True, output_dir=str(folder), extra_context=answers
    )
    if service:
        settings = Path(project, ".dvc")
        settings.joinpath("config.local").write_text(service.text(service.writer))
        settings.joinpath("config.reader").write_text(service.text(service.reader))
    return sum(1 for path in Path(project).rglob("*") if path.is_file())


def clear(folder: Path) -> None:
    """Make an empty folder; remove only what an earlier play left there."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise SystemExit(
            f"{folder} holds files that no rehearsal wrote: choose another --folder"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("written by `make demo`, removed by the next one\n")


def source_files() -> list[str]:
    """Return the template's files as a clone would have them, without caches."""
    command = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    listing = subprocess.run(command, cwd=TEMPLATE, capture_output=True, check=True)
    prefixes = ("{{cookiecutter.project_slug}}/", "hooks/", "cookiecutter.json")
    names = [name for name in listing.stdout.decode().split("\0") if name]
    return [n for n in names if n.startswith(prefixes) and (TEMPLATE / n).is_file()]


def populate(
    play: Play, forge: Forge, clone: Path, log: Path, shell: Mapping[str, str]
) -> World:
    """Create the repository and the accounts of dana, rita and finn."""
    tokens = {"rita": forge.user("rita", admin=True)}
    tokens |= {name: forge.user(name) for name in ("dana", "finn")}
    forge.repository(OWNER, SLUG)
    forge.collaborator(f"{OWNER}/{SLUG}", "dana", "write")
    people = {}
    for name, token in tokens.items():
        env = {**forge.gh_env(token), **shell}
        people[name] = Person(name, f"{OWNER}/{SLUG}", clone, env, log)
    people["finn"].clone = play.folder / "finn"
    machines = [
        Target(name, play.folder / "hosts" / name, ports.free())
        for name in ("staging", "production")
    ]
    staging, production = machines
    return World(
        play, forge, f"{OWNER}/{SLUG}", staging=staging, production=production, **people
    )


def publish(world: World) -> None:
    """Push the repository as rita, set its rules and the addresses of its targets."""
    world.rita.git("remote", "add", "origin", world.url(world.repo))
    world.rita.git("push", "-q", "origin", "main")
    world.rita.make("push")
    world.rita.make("github")
    for name, value in {
        "STAGING_URL": world.staging.url,
        "PRODUCTION_URL": world.production.url,
        "PREDICTION_LOG": str(world.production.log),
        "LABELS": str(world.folder / "labels.csv"),
    }.items():
        world.rita.api("actions/variables", "POST", {"name": name, "value": value})
    world.forge.secret(world.repo, "STORAGE_KEY", "not for strangers")


@contextmanager
def machines(world: World, seconds: int) -> Iterator[None]:
    """Start both environments' agents, which look so often; stop them in any case."""
    agent = copied_agent(world.folder / SLUG, world.folder / "hosts")
    rights = {"contents": "read", "deployments": "write"}
    token = world.forge.machine(world.repo, "host", rights)
    command = [sys.executable, str(agent), "--git", world.url(world.repo)]
    command += ["--api-url", world.forge.api_url, "--poll", str(seconds)]
    env = {"AGENT_TOKEN": token, "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    try:
        world.staging.start(command, env)
        world.production.start([*command, "--canary"], env)
        yield
    finally:
        for target in (world.staging, world.production):
            target.stop()


def copied_agent(clone: Path, hosts: Path) -> Path:
    """Copy the host agent to the machines, from where the README says it is."""
    match = AGENT.search((clone / "README.md").read_text(encoding="utf-8"))
    if match is None:
        raise PlayError("the README does not say which file the host agent is")
    hosts.mkdir(exist_ok=True)
    return Path(shutil.copy(clone / match[1], hosts))


def perform(world: World, until: str) -> None:
    """Play the scenes in order."""
    scenes.first_model(world)
    if until != "end":
        return tricks.tricks(world) if until == "tricks" else None
    scenes.better_model(world)
    scenes.worse_model(world)
    scenes.fork(world)
    scenes.quiet_months(world)
    previous = scenes.retrained(world, scenes.drift(world))
    scenes.rollback(world, previous)
    scenes.audit(world)


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    say(f"{time.monotonic() - started:.0f} s in total")
    sys.exit(code)
