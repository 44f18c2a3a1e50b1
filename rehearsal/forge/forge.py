"""The forge as a rehearsal uses it."""

import atexit
import os
import tempfile
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from . import (
    act,
    api_issues,
    api_pulls,
    api_releases,
    api_repository,
    api_settings,
    events,
    git,
)
from .processes import environment
from .runs import Queue
from .server import Servers
from .state import APP_KEY, ROLES, Fault, Refusal, Repository, Run, State
from .workspace import Runner

# Importing a module of routes fills the table; named here so that none is left out.
ROUTES = (api_issues, api_pulls, api_releases, api_repository, api_settings)
CREDENTIAL_HELPER = (
    '!f() { test "$1" = get && echo username=x-access-token'
    ' && echo "password=$GH_TOKEN"; }; f'
)


class Forge:
    """A GitHub of its own under ``home``; use it in a ``with`` statement.

    ``tools`` is the folder put first on every runner's PATH: act, gh, python, uv.
    ``workers`` is how many runs may be in progress at a time; those that come ``last``
    start when no other is left: GitHub gives each a machine, here they share one.
    Those that are ``left_out`` end as skipped.
    ``tool_cache`` is for all its runners, and may be an earlier forge's; without it
    each has one of its own.
    """

    def __init__(
        self,
        home: Path,
        tools: Path,
        workers: int = 1,
        last: Callable[[Run], bool] = lambda run: False,
        tool_cache: Path | None = None,
        left_out: Callable[[Run], bool] = lambda run: False,
    ) -> None:
        """Start both servers and the workers."""
        self.home = Path(home).absolute()
        for name in ("runs", "git", "gh", "runner"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        self.tools = Path(tools).absolute()
        self.state = State(self.home)
        # a Unix socket's path has at most 107 bytes, a home may have more; act gives
        # the path of a runner to its shell unquoted, a home may have a space
        self._folder = tempfile.TemporaryDirectory(prefix="forge-")
        self.socket = Path(self._folder.name) / "api"
        runners = Path(self._folder.name) / "runner"
        runners.symlink_to(self.home / "runner")
        programs = Path(self._folder.name) / "programs"
        act.write_programs(programs)
        mark = uuid.uuid4().hex[:12]
        shared = (self.tools, programs, runners, tool_cache)
        runner = Runner(self.state, *shared, self._gh_config, mark)
        self.queue = Queue(runner, workers, self._ended, last, left_out)
        self._servers = Servers(self.state, self.queue, self.socket)
        self.state.url = self._servers.url
        for thread in self.queue.threads:
            thread.start()
        atexit.register(self.close)

    def __enter__(self) -> "Forge":
        """Return the forge."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every child and stop both servers."""
        self.close()

    def close(self) -> None:
        """End every child and stop both servers; a second call does nothing."""
        atexit.unregister(self.close)
        if not self.queue.stopped:
            self.queue.stop()
            self._servers.close()
            self._folder.cleanup()

    @property
    def api_url(self) -> str:
        """Return the address of the REST API on loopback."""
        return self.state.url

    @property
    def runs(self) -> list[Run]:
        """Return every run, oldest first."""
        return self.state.runs

    def set_clock(self, clock: Callable[[], datetime]) -> None:
        """Replace the clock that answers and the journal are stamped with."""
        self.state.clock = clock

    def user(self, name: str, admin: bool = False) -> str:
        """Make a person and return their token; an admin is one everywhere."""
        person = self.state.person(name)
        person.admin = admin or person.admin
        return self.state.mint(person).value

    def repository(self, owner: str, name: str, private: bool = False) -> str:
        """Make an empty repository and return its Git address."""
        is_person = owner in self.state.people
        holder = self.state.person(owner, "User" if is_person else "Organization")
        path = self.home / "git" / owner / f"{name}.git"
        git.create(path)
        repo = Repository(self.state.next_id(), holder, name, path, private)
        self.state.repositories[repo.full_name] = repo
        self.state.record("repository", repository=repo.full_name)
        return f"{self.state.url}/{repo.full_name}.git"

    def delete(self, name: str) -> None:
        """Delete a repository, such as a fork whose proposal is still open."""
        with self.state.changed:
            self.state.repositories.pop(name)
            self.state.record("deleted", repository=name)

    def organisation_rules(
        self, repo: str, name: str, *rules: dict[str, Any], ref: str = "~ALL"
    ) -> None:
        """Let the organisation rule over the branches of a repository."""
        repository = self.state.repository(repo)
        names = {"ref_name": {"include": [ref], "exclude": []}}
        source = {"source_type": "Organization", "source": repository.owner.login}
        fields = {"name": name, "enforcement": "active", "rules": list(rules)}
        self.state.ruleset(repository, {**fields, **source, "conditions": names})

    def leave(self, name: str) -> None:
        """Delete an account: what it wrote stays, without an author."""
        with self.state.changed:
            person = self.state.people.pop(name)
            person.gone = True
            for token in [t for t in self.state.tokens.values() if t.person is person]:
                del self.state.tokens[token.value]
            for repository in self.state.repositories.values():
                repository.roles.pop(name, None)
                for issue in repository.issues.values():
                    reviews = issue.pull.reviews if issue.pull else []
                    for written in [*issue.comments, *reviews]:
                        if (written["user"] or {}).get("login") == name:
                            written["user"] = None
            for run in self.state.runs:
                for approval in run.approvals:
                    if (approval["user"] or {}).get("login") == name:
                        approval["user"] = None

    def fail(
        self, method: str, path: str, status: int, times: int = 1, **headers: str
    ) -> None:
        """Let GitHub itself fail the next requests to a path (a regular expression)."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        words = "API rate limit exceeded" if status in (403, 429) else "Server Error"
        fault = Fault(method, path, status, words, named)
        with self.state.changed:
            self.state.faults += [fault] * times

    def collaborator(self, repo: str, name: str, role: str = "write") -> None:
        """Let somebody read, write or administer a repository."""
        if role not in ROLES:
            raise Refusal(422, f"role must be one of {ROLES}, got {role}")
        self.state.repository(repo).roles[name] = role

    def variable(self, repo: str, name: str, value: str, environment: str = "") -> None:
        """Set a variable (``vars`` in workflows) of a repository or an environment."""
        repository = self.state.repository(repo)
        if environment:
            owner = self.state.environment(repository, environment)
            owner["variables"][name] = {"name": name, "value": value}
        else:
            self.state.variable(repository, name, value)

    def secret(self, repo: str, name: str, value: str, environment: str = "") -> None:
        """Set a secret of a repository or of an environment; forks never see it."""
        repository = self.state.repository(repo)
        owner = repository.secrets
        if environment:
            owner = self.state.environment(repository, environment)["secrets"]
        owner[name] = value

    def machine(self, repo: str, name: str, permissions: dict[str, str]) -> str:
        """Return a token of somebody's that reaches one repository only.

        GitHub calls it a fine-grained personal access token.
        """
        person = self.state.person(name)
        granted = {"metadata": "read", **permissions}
        return self.state.mint(
            person, "github_pat", permissions=granted, repository=repo
        ).value

    def app(
        self, repo: str, login: str, permissions: dict[str, str]
    ) -> tuple[str, str]:
        """Install an app; return its id and its private key, to be set as secrets."""
        bot = self.state.person(f"{login}[bot]", "Bot")
        key = self.state.mint(bot, APP_KEY, permissions={}, app=bot.id).value
        self.state.apps[key] = {"repository": repo, "permissions": permissions}
        return str(bot.id), key

    def gh_env(self, token: str) -> dict[str, str]:
        """Return the environment in which gh, git and make act as a token's owner."""
        login = self.state.tokens[token].person.login
        folder = self.home / "gh" / login
        folder.mkdir(parents=True, exist_ok=True)
        self._gh_config(folder)
        mail = f"{login}@users.noreply.github.com"
        return {
            **os.environ,
            "PATH": environment(self.tools)["PATH"],
            "GH_TOKEN": token,
            "GH_CONFIG_DIR": str(folder),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"credential.{self.state.url}.helper",
            "GIT_CONFIG_VALUE_0": CREDENTIAL_HELPER,
            "GIT_AUTHOR_NAME": login,
            "GIT_AUTHOR_EMAIL": mail,
            "GIT_COMMITTER_NAME": login,
            "GIT_COMMITTER_EMAIL": mail,
        }

    def tick(self, repo: str, workflow_file: str) -> None:
        """Let the time of a scheduled workflow come."""
        with self.state.changed:
            repository = self.state.repository(repo)
            events.schedule(self.state, self.queue, repository, workflow_file)

    def wait(self, ignored: Callable[[Run], bool] = lambda run: False) -> None:
        """Wait until no run is queued or in progress, but for ``ignored`` ones.

        Approvals are not waited for.
        """
        with self.state.changed:
            while not self.queue.idle(ignored):
                self.state.changed.wait(timeout=1)

    def _ended(self, run: Run) -> None:
        """Start what waits for the end of a run."""
        events.workflow_run(self.state, self.queue, run)

    def _gh_config(self, folder: Path) -> None:
        """Point gh at the socket."""
        settings = f"version: '1'\nhttp_unix_socket: {self.socket}\nprompt: disabled\n"
        (folder / "config.yml").write_text(settings, encoding="utf-8")
