"""The one entry point: `python -m mlgitops COMMAND`; standard library only."""

import sys
from importlib import import_module

COMMANDS = {  # group: {command: (module, what it does)}
    "build a model": {
        "prepare": ("pipeline.prepare", "check the labelled rows and split them"),
        "train": ("pipeline.train", "fit, export to ONNX, write the manifest"),
        "evaluate": ("pipeline.evaluate", "score the exported model on the holdout"),
        "experiment": ("commands.experiment", "try a few settings and compare them"),
    },
    "propose and judge it": {
        "validate": ("commands.validate", "judge a proposal by the rules of main"),
        "adopt": ("commands.adopt", "take the lock that CI built for a pull request"),
        "build": ("commands.build", "build what a pull request describes (train)"),
        "act": ("commands.act", "run the workflow `train` on this machine"),
    },
    "move data": {
        "push": ("commands.push", "send the data of this branch to storage"),
        "pull": ("commands.pull", "fetch the data of this branch from storage"),
    },
    "release and run it": {
        "serve": ("serving.__main__", "answer requests with a version"),
        "image": ("commands.image", "build the server's image and try it"),
        "register": ("commands.register", "register the version that main names"),
        "deploy": ("commands.deploy", "bring a version to an environment"),
        "rollback": ("commands.rollback", "bring an earlier version back"),
        "edge": ("edge.build", "pack a version for a device"),
        "edge-measure": ("edge.measure", "measure the size and start of such a pack"),
        "kubernetes": ("kubernetes.render", "print the manifests of a release"),
    },
    "watch it": {
        "monitor": ("commands.monitor", "compare production with the training data"),
        "retrain": ("commands.retrain", "propose newer training data"),
        "simulate": ("commands.simulate", "send rows of a table to a server"),
    },
    "explain it": {
        "audit": ("commands.audit", "say what served, from what, who approved"),
        "reproduce": ("commands.reproduce", "build a version again and compare bytes"),
        "verify": ("serving.verify", "check the files of a version"),
        "smoke": ("serving.smoke", "load a version and answer its golden rows"),
    },
    "look after the repository": {
        "install": ("commands.install", "install locked requirements (workflows)"),
        "setup": ("commands.setup", "start git and DVC, make the first commit"),
        "github": ("commands.protect", "set up rules and environments on GitHub"),
        "doctor": ("commands.doctor", "say what is not set up, and what it weakens"),
        "secrets": ("commands.secrets", "refuse a secret in .dvc/config"),
        "machinery": ("commands.machinery", "say version and state of this folder"),
        "selftest": ("commands.selftest", "run the machinery's own tests here"),
        "update": ("commands.update", "say when the template has moved on"),
    },
}
ALL = {name: entry for group in COMMANDS.values() for name, entry in group.items()}


def usage() -> str:
    """Return every command with what it does, by what a person wants."""
    lines = ["Type: python -m mlgitops COMMAND, or COMMAND --help for its options."]
    for title, group in COMMANDS.items():
        lines += ["", f"to {title}:"]
        lines += [f"  {name:13} {what}" for name, (_, what) in group.items()]
    return "\n".join(lines)


def main() -> None:
    """Run the command that is named, with the rest as its arguments."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
        return
    if name not in ALL:
        raise SystemExit(f"There is no command {name!r}.\n\n{usage()}")
    module, what = ALL[name]
    sys.argv = [f"python -m mlgitops {name}", *sys.argv[2:]]
    found = import_module(f"mlgitops.{module}")
    if sys.argv[1:] in (["--help"], ["-h"]) and "argparse" not in vars(found):
        print(f"{what[0].upper()}{what[1:]}.\n\n{(found.__doc__ or '').strip()}")
        return
    found.main()


if __name__ == "__main__":
    main()
