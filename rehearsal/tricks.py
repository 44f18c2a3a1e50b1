"""Proposals that change their own workflow, judged by the workflows of main."""

import re

from rehearsal.play import expect
from rehearsal.proposals import PROPOSALS
from rehearsal.world import TRICKS, World


def tricks(world: World) -> None:
    """Two proposals change what `train` does; the judge refuses both."""
    with world.play.step("tricks", "Two tricks in train.yml: refused") as step:
        numbers = {}
        for name, title in TRICKS.items():
            world.dana.git("switch", "-q", "-c", name, "main")
            PROPOSALS[name](world.dana.clone)
            world.dana.git("commit", "-qam", title)
            numbers[name] = world.propose(name, title, "It is green here.")
            step.show("pull", number=numbers[name])
        world.dana.git("switch", "-q", "main")
        world.settle(step)
        for name, number in numbers.items():
            state, report = world.status(number), world.report(number)
            reason = re.search(r"^Artifact: .*$", report, re.M)
            step.note(**{name: state})
            step.note(**{f"{name}_reason": reason[0] if reason else report[:200]})
            expect(state == "failure", f"the trick {name} was not refused: {state}")
            fields = {"sha": world.head(number), "merge_method": "squash"}
            path = f"pulls/{number}/merge"
            code, _ = world.rita.refused(path, "PUT", fields)
            expect(code == 405, f"the merge of {name} answered HTTP {code}, not 405")
