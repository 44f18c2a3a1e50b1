"""Tricks that a proposal may play on its own workflow, judged by the real ones."""

import re
from pathlib import Path

from rehearsal.play import expect
from rehearsal.world import World, apply

PROPOSALS = Path(__file__).parent / "proposals"
TRICKS = {
    "swallowed": "Let the build carry on",
    "forged": "Bring the verdict along",
}


def tricks(world: World) -> None:
    """Two proposals change what `train` does; main's judge refuses both."""
    with world.play.step("tricks", "Two tricks in train.yml: refused") as step:
        numbers = {}
        for name, title in TRICKS.items():
            world.dana.git("switch", "-q", "-c", name, "main")
            apply(world.dana, PROPOSALS / f"{name}.patch")
            world.dana.git("commit", "-qam", title)
            numbers[name] = world.propose(name, title, "It is green here.")
            step.show("pull", number=numbers[name])
        world.dana.git("switch", "-q", "main")
        world.settle(step)
        for name, number in numbers.items():
            state, words = world.status(number), world.report(number)
            why = re.search(r"^Artifact: .*$", words, re.M)
            step.note(**{name: state, f"{name}_why": why[0] if why else words[:200]})
            expect(state == "failure", f"the trick {name} was not refused: {state}")
            fields = {"sha": world.head(number), "merge_method": "squash"}
            path = f"pulls/{number}/merge"
            code, _ = world.rita.refused(path, "PUT", fields)
            expect(code == 405, f"merging the trick {name} answered {code}, not 405")
