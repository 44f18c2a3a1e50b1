"""The one entry point: `python -m mlgitops COMMAND`; standard library only."""

import sys
from importlib import import_module

COMMANDS = {  # group: {command: (module, what it does)}
    "build a model": {
        "prepare": ("pipeline.prepare", "check the labelled rows and split them"),
        "train": ("pipeline.train", "fit, export to ONNX, write the manifest"),
        "evaluate": ("pipeline.evaluate", "score the exported model on the holdout"),
        "repro": ("commands.repro", "run the stages whose inputs changed"),
        "experiment": ("commands.experiment", "compare settings by cross-validation"),
    },
    "propose and judge it": {
        "validate": ("commands.validate", "judge a proposal with the rules of main"),
        "build": ("commands.build", "build the model of a pull request (CI)"),
        "act": ("commands.act", "run the workflow train on this machine"),
    },
    "move data": {
        "data": ("commands.data", "make data, contract and settings from a table"),
        "push": ("commands.push", "send the data of this branch to storage"),
        "pull": ("commands.pull", "fetch the data of this branch from storage"),
    },
    "release and run it": {
        "serve": ("serving.__main__", "answer requests with a version"),
        "score": ("commands.score", "predict the rows of a file with a version"),
        "image": ("commands.image", "build the server's image and test it"),
        "register": ("commands.register", "register the version on main"),
        "deploy": ("commands.deploy", "deploy a version to an environment"),
        "rollback": ("commands.rollback", "deploy an earlier version again"),
        "edge": ("commands.edge", "build and publish bundles, count devices"),
        "edge-measure": ("edge.measure", "measure such a bundle's size and start"),
        "openapi": ("serving.openapi", "describe what a version takes and returns"),
        "kubernetes": ("kubernetes.render", "print the manifests of a release"),
    },
    "watch it": {
        "ship": ("commands.ship", "bring a server's prediction log to an address"),
        "monitor": ("commands.monitor", "compare production with the training data"),
        "retrain": ("commands.retrain", "open a pull request with newer training data"),
        "alert": ("commands.alert", "tell a webhook what a job found, once"),
        "simulate": ("commands.simulate", "send rows of a table as traffic"),
    },
    "explain it": {
        "audit": ("commands.audit", "list what served when, and who approved it"),
        "explain": (
            "commands.explain",
            "write a page on where a version fails, and why",
        ),
        "fleet": ("commands.fleet", "put many models on one page, by their ledgers"),
        "reproduce": ("commands.reproduce", "build a version again, compare the bytes"),
        "verify": ("serving.verify", "check the files of a version"),
        "smoke": ("serving.smoke", "load a version and check its golden rows"),
    },
    "look after the repository": {
        "install": ("commands.install", "install locked requirements (workflows)"),
        "setup": ("commands.setup", "set up git, DVC and hooks, make the first commit"),
        "github": ("commands.protect", "set up rules and environments on GitHub"),
        "doctor": ("commands.doctor", "list what is not set up, and what that weakens"),
        "logins": ("commands.logins", "list the logins to storage, or send them"),
        "storage": ("commands.storage", "move data and models to other storage"),
        "prune": ("commands.prune", "retire old versions, and delete their objects"),
        "erase": ("commands.erase", "remove a person's rows from log, labels and data"),
        "secrets": ("commands.secrets", "refuse a secret in .dvc/config"),
        "machinery": ("commands.machinery", "print mlgitops' version and changes"),
        "selftest": ("commands.selftest", "run the tests of mlgitops here"),
        "update": ("commands.update", "bring in, or announce, changes of the template"),
        "scan": ("commands.scan", "look for known vulnerabilities of locks and images"),
    },
}
ALL = {name: entry for group in COMMANDS.values() for name, entry in group.items()}


def usage() -> str:
    """Return the list of commands, grouped by task."""
    lines = ["Type: python -m mlgitops COMMAND, or COMMAND --help for its options."]
    for title, group in COMMANDS.items():
        lines += ["", f"{title.capitalize()}:"]
        lines += [f"  {name:13} {purpose}" for name, (_, purpose) in group.items()]
    return "\n".join(lines)


def main() -> None:
    """Run the command that is named, with the rest as its arguments."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        print(usage())
        return
    if name not in ALL:
        raise SystemExit(f"There is no command {name!r}.\n\n{usage()}")
    module, purpose = ALL[name]
    sys.argv = [f"python -m mlgitops {name}", *sys.argv[2:]]
    program = import_module(f"mlgitops.{module}")
    if sys.argv[1:] in (["--help"], ["-h"]) and "argparse" not in vars(program):
        details = (program.__doc__ or "").strip()
        print(f"{purpose[0].upper()}{purpose[1:]}.\n\n{details}")
        return
    program.main()


if __name__ == "__main__":
    main()
