"""What a pod's specification means to a container engine, as a kubelet translates it.

A field that is not known here is an error: a test that ignored it would say that the
image runs under a context that nobody tried.
"""

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from machinery import tiny

# The generated repository has it if its target is Kubernetes, the template always.
TEMPLATE = Path(__file__).resolve().parents[2] / "{{cookiecutter.project_slug}}"
FOLDERS = [root / "deploy/kubernetes" for root in (tiny.ROOT, TEMPLATE)]
FOLDER = next((folder for folder in FOLDERS if folder.is_dir()), FOLDERS[0])
Pod = dict[str, Any]


def specification(folder: Path = FOLDER) -> Pod:
    """Return the pod of the server's deployment, which no overlay changes."""
    documents = yaml.safe_load_all((folder / "base/server.yaml").read_text())
    (deployment,) = [doc for doc in documents if doc["kind"] == "Deployment"]
    return dict(deployment["spec"]["template"]["spec"])


def seconds(pod: Pod) -> tuple[float, float, float]:
    """Return how long it pauses, drains and may take in all, in seconds."""
    (server,) = pod["containers"]
    pause = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = server["args"][server["args"].index("--drain") + 1]
    return float(pause), float(drain), float(pod["terminationGracePeriodSeconds"])


def options(pod: Pod, uid: int | None = None) -> list[str]:
    """Return the options of `docker run` for a pod.

    `uid` is another user than the pod's, as a cluster may choose one.
    """
    (server,) = pod["containers"]
    outer, inner = dict(pod["securityContext"]), dict(server["securityContext"])
    assert outer.pop("runAsNonRoot") is True and outer["runAsUser"] != 0
    assert outer.pop("seccompProfile") == {"type": "RuntimeDefault"}  # the engine's own
    assert inner.pop("allowPrivilegeEscalation") is False
    assert inner.pop("readOnlyRootFilesystem") is True
    user, group = outer.pop("runAsUser"), outer.pop("runAsGroup")
    volumes = outer.pop("fsGroup")
    dropped = inner.pop("capabilities")
    assert set(dropped) == {"drop"} and not outer and not inner, (outer, inner)
    chosen = ["--security-opt=no-new-privileges", "--read-only"]
    chosen += [f"--cap-drop={name}" for name in dropped["drop"]]
    chosen += [f"--user={uid or user}:{0 if uid else group}", f"--group-add={volumes}"]
    limits = server["resources"]["limits"]
    assert set(limits) == {"memory"}
    memory = f"{limits['memory'].removesuffix('Mi')}m"
    chosen += [f"--memory={memory}", f"--memory-swap={memory}"]
    cpu = server["resources"]["requests"]["cpu"]  # what it gets on a busy node
    chosen += [f"--cpus={int(cpu.removesuffix('m')) / 1000}"]
    sizes = {v["name"]: v["emptyDir"]["sizeLimit"] for v in pod["volumes"]}
    for mount in server["volumeMounts"]:  # with the group that a kubelet gives it
        size = sizes[mount["name"]].removesuffix("i").lower()
        chosen.append(
            f"--tmpfs={mount['mountPath']}:mode=2770,gid={volumes},size={size}"
        )
    return chosen


def arguments(pod: Pod, port: int) -> list[str]:
    """Return the arguments of the server, on another port and on loopback only."""
    (server,) = pod["containers"]
    (declared,) = server["ports"]
    args = list(server["args"])
    args[args.index(str(declared["containerPort"]))] = str(port)
    return [*args, "--host", "127.0.0.1"]


def probe(pod: Pod, name: str, port: int) -> float:
    """Ask as often as a probe does until it is answered; return the seconds.

    Raises AssertionError when a kubelet would give up.
    """
    (server,) = pod["containers"]
    check = server[f"{name}Probe"]
    (declared,) = server["ports"]
    assert check["httpGet"]["port"] == declared["name"]
    url = f"http://127.0.0.1:{port}{check['httpGet']['path']}"
    begun = time.monotonic()
    for _ in range(check.get("failureThreshold", 3)):
        try:
            timeout = check.get("timeoutSeconds", 1)
            with urllib.request.urlopen(url, timeout=timeout) as answer:
                assert answer.status == 200
                return time.monotonic() - begun
        except (OSError, urllib.error.HTTPError):
            time.sleep(check.get("periodSeconds", 10))
    raise AssertionError(f"the {name} probe gave up after {time.monotonic() - begun} s")
