"""Which versions run beside production's in a cluster, in the manifests it follows.

A pod's image holds one version. A shadow (``deploy.shadow`` of params.yaml) or a canary
is brought by an init container of that version's own image, which copies its files into
a volume; the server verifies them, as its arguments say which manifest they must have.
The manifests on the ledger are changed, not rendered again: what ends a canary needs no
kubectl. On hosts the agent brings challengers, and nothing is done here.
"""

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from mlgitops import github
from mlgitops.ledger import CHAMPION, Ledger
from mlgitops.release import Record, ReleaseError, environments, settings
from mlgitops.release.manifests import KUBERNETES

PATH = f"environments/{CHAMPION}/kubernetes/manifests.yaml"
VOLUME = "challengers"  # its name; also that of the folder
SERVER = "server"  # the container of `deploy/kubernetes`
SHADOW_CPU = 250  # thousandths of a core, as the server's `--shadow-share`
COPY = "import shutil; shutil.copytree('model', '/{}/{}', dirs_exist_ok=True)"
Challengers = dict[str, Record]  # by role: shadow, canary


def follow(ledger: Ledger, running: Callable[[Ledger], Record | None]) -> None:
    """Bring production's manifests up to the ledger, in a commit where they change.

    ``running`` returns the canary that the ledger names, if one runs.
    """

    def files(seq: int) -> dict[str, Record | bytes]:
        return {**changed(ledger, running(ledger))}

    if changed(ledger, running(ledger)):
        ledger.append(files, f"the challengers of {CHAMPION}")
        github.tell(f"the cluster of {CHAMPION} gets other challengers")


def try_to_follow(ledger: Ledger, running: Callable[[Ledger], Record | None]) -> None:
    """Do the same after a way back, which no fault of a challenger may stop."""
    try:
        follow(ledger, running)
    except ReleaseError as error:
        github.tell(f"the cluster of {CHAMPION} keeps its challengers: {error}")


def changed(ledger: Ledger, canary: Record | None) -> dict[str, bytes]:
    """Return production's manifests with its challengers, by path, if they differ.

    Raises:
        ReleaseError: a challenger has no image.
    """
    before = ledger.read_bytes(PATH)
    if before is None or not KUBERNETES.is_dir():
        return {}
    challengers = {"shadow": _shadow(ledger), "canary": canary}
    named = {role: release for role, release in challengers.items() if release}
    if not named and not any(_pods(_documents(before))):
        return {}  # a server of the team's own kind, which nothing is to be added to
    after = place(before, named)
    return {} if _documents(after) == _documents(before) else {PATH: after}


def without_canary(ledger: Ledger) -> dict[str, bytes]:
    """Return production's manifests without a canary, by path, if they differ.

    What is wrong with its shadow keeps no canary there: then they have neither.
    """
    try:
        return changed(ledger, None)
    except ReleaseError as error:
        github.tell(f"the cluster of {CHAMPION} has no shadow: {error}")
        before = ledger.read_bytes(PATH) or b""
        has_server = any(_pods(_documents(before)))
        return {PATH: place(before, {})} if has_server else {}


def unused() -> str:
    """Return why ``deploy.shadow`` of params.yaml does nothing; "" if it is not so."""
    name = settings().shadow
    if name and not KUBERNETES.is_dir():
        return (
            "deploy.shadow in params.yaml does nothing: it is for clusters; start the "
            f"host's agent with --shadow {name}"
        )
    return ""


def place(manifests: bytes, challengers: Challengers) -> bytes:
    """Return manifests whose server has these challengers, and no others.

    Raises:
        ReleaseError: there is no such server, it takes no challenger, or one has no
            image.
    """
    documents = _documents(manifests)
    pods = [*_pods(documents)]
    if not pods:
        raise ReleaseError(f"{PATH} has no Deployment with a container {SERVER!r}")
    for pod in pods:
        _remove(pod)
        _add(pod, challengers)
    text: str = yaml.safe_dump_all(documents, sort_keys=False)
    return text.encode()


def _documents(manifests: bytes) -> list[dict[str, Any]]:
    """Return the documents of a YAML file that are not empty."""
    return [document for document in yaml.safe_load_all(manifests) if document]


def _pods(documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the pods that have the server."""
    for document in documents:
        if not isinstance(document, dict) or document.get("kind") != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        if _server(pod):
            yield pod


def _server(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the server's container, or nothing."""
    return next((c for c in pod["containers"] if c["name"] == SERVER), {})


def _remove(pod: dict[str, Any]) -> None:
    """Take the challengers that `_add` has put there out of a pod."""
    server, brought = _server(pod), pod.get("initContainers", [])
    roles = [c["name"] for c in brought if c["name"] in ("shadow", "canary")]
    if not roles:
        return
    others = [container for container in brought if container["name"] not in roles]
    pod.pop("initContainers")
    if others:
        pod["initContainers"] = others
    pod["volumes"] = [v for v in pod["volumes"] if v["name"] != VOLUME]
    mounts = server["volumeMounts"]
    server["volumeMounts"] = [m for m in mounts if m["name"] != VOLUME]
    server["args"] = server["args"][: server["args"].index(f"--{roles[0]}")]
    if "shadow" in roles:
        _reserve(server, -SHADOW_CPU)


def _add(pod: dict[str, Any], challengers: Challengers) -> None:
    """Bring challengers into a pod: their files, then the server's arguments."""
    if not challengers:
        return
    server = _server(pod)
    _demand_takes(server)
    mount = {"name": VOLUME, "mountPath": f"/{VOLUME}"}
    containers = [_bring(r, each, server, mount) for r, each in challengers.items()]
    pod["initContainers"] = [*pod.get("initContainers", []), *containers]
    volume = {"name": VOLUME, "emptyDir": {"sizeLimit": "1Gi"}}
    pod["volumes"] = [*pod.get("volumes", []), volume]
    mounts = server.get("volumeMounts", [])
    server["volumeMounts"] = [*mounts, {**mount, "readOnly": True}]
    given = [text for role, each in challengers.items() for text in _given(role, each)]
    server["args"] = [*server.get("args", []), *given]
    if "shadow" in challengers:
        _reserve(server, SHADOW_CPU)


def _demand_takes(server: dict[str, Any]) -> None:
    """Refuse a server that would not start with a challenger.

    Raises:
        ReleaseError: what its arguments lack, or have.
    """
    given = [str(text).partition("=")[0] for text in server.get("args", [])]
    for option, wanted in (("--log", True), ("--workers", False)):
        if (option in given) is not wanted:
            raise ReleaseError(
                f"the server in {PATH} has {'no ' if wanted else ''}{option}, and so "
                "starts with no shadow or canary: change its args in deploy/kubernetes"
            )


def _bring(
    role: str, release: Record, server: dict[str, Any], mount: dict[str, Any]
) -> dict[str, Any]:
    """Return the container that copies a challenger's files into the volume."""
    if not release.get("image"):
        raise ReleaseError(f"{release['tag']} has no image: a cluster cannot run it")
    return {
        "name": role,
        "image": release["image"],
        "command": ["python", "-c", COPY.format(VOLUME, role)],
        "securityContext": server["securityContext"],
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"memory": "128Mi"},
        },
        "volumeMounts": [mount],
    }


def _given(role: str, release: Record) -> list[str]:
    """Return the arguments by which the server loads a challenger."""
    given = [f"--{role}", f"/{VOLUME}/{role}", f"--{role}-version", release["version"]]
    given += [f"--{role}-expect", release["manifest_sha256"]]
    if role == "canary":
        given += ["--canary-share", f"{release['share']:g}"]
        given += ["--canary-until", release["until"]]
    return given


def _reserve(server: dict[str, Any], cpu: int) -> None:
    """Change the processor time that a container asks for, where it does.

    Its limit changes alike: a cluster refuses a request above it.
    """
    for kind in ("requests", "limits"):
        amounts = server.get("resources", {}).get(kind, {})
        if text := str(amounts.get("cpu") or ""):
            before = float(text[:-1]) if text.endswith("m") else float(text) * 1000
            amounts["cpu"] = f"{before + cpu:g}m"


def _shadow(ledger: Ledger) -> Record | None:
    """Return the release that predicts beside production's, if it is another version.

    Raises:
        ReleaseError: params.yaml names an environment that is none, or production.
    """
    name = settings().shadow
    if name is None:
        return None
    if environments.check_name(name) == CHAMPION:
        raise ReleaseError(
            f"deploy.shadow in params.yaml is {CHAMPION}: name an environment before it"
        )
    release, champion = ledger.champion(name), ledger.champion()
    if release is None or champion is None:
        return None
    same = release["manifest_sha256"] == champion["manifest_sha256"]
    return None if same else release
