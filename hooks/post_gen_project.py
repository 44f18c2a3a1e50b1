"""Keep the files of the choices that were made, and remove the others'."""

import shutil
from pathlib import Path

CHOSEN = {
    "deploy_target": "{{ cookiecutter.deploy_target }}",
}
FILES = {  # the files that only these choices need
    ("deploy_target", "host"): [
        "deploy/README.md",
        "deploy/agent.service",
        "deploy/agent.socket",
    ],
    ("deploy_target", "host kubernetes"): ["deploy/Dockerfile"],
    ("deploy_target", "kubernetes"): ["deploy/kubernetes"],
    ("deploy_target", "edge"): ["deploy/edge"],
}

for (question, choices), paths in FILES.items():
    for path in map(Path, paths):
        if CHOSEN[question] in choices.split():
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

print(f"Generated {Path.cwd().name}; in a new project, `make setup` comes next.")
