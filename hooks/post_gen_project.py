"""Keep the files of the choices that were made, and remove the others'."""

import shutil
from pathlib import Path

CHOSEN = {
    "storage": "{{ cookiecutter.storage }}",
    "deploy_target": "{{ cookiecutter.deploy_target }}",
}
FILES = {  # the files that only these choices need
    ("deploy_target", "host"): [
        "deploy/README.md",
        "deploy/agent.py",
        "deploy/agent.service",
        "deploy/agent.socket",
        "tests/test_agent.py",
        "tests/test_agent_load.py",
        "tests/test_agent_docker.py",
    ],
    ("deploy_target", "host kubernetes"): [
        "deploy/Dockerfile",
        "deploy/Dockerfile.dockerignore",
        "tests/test_image.py",
    ],
    ("deploy_target", "kubernetes"): [
        "deploy/kubernetes",
        "tests/test_kubernetes.py",
    ],
    ("deploy_target", "edge"): ["deploy/edge", "tests/test_edge.py"],
    ("storage", "s3"): ["requirements/storage-s3.txt"],
    ("storage", "gs"): ["requirements/storage-gs.txt"],
    ("storage", "azure"): ["requirements/storage-azure.txt"],
    ("storage", "ssh"): ["requirements/storage-ssh.txt"],
}
RENAMED = {"requirements/storage-{storage}.txt": "requirements/storage.txt"}

for (question, choices), paths in FILES.items():
    for path in map(Path, paths):
        if CHOSEN[question] in choices.split():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

for old, new in RENAMED.items():
    if Path(old.format(**CHOSEN)).exists():
        Path(old.format(**CHOSEN)).replace(new)

print(f"Generated {Path.cwd().name}; in a new project, `make setup` comes next.")
