"""The cloud's side of docs/storage.md fits the workflows, and trusts nobody else."""

import json
import re
from typing import Any

import pytest
import yaml

from conftest import FOLDER
from user import ROOT

PAGE = (ROOT / "docs" / "storage.md").read_text()
WORKFLOWS = ROOT / FOLDER / ".github" / "workflows"
ISSUER = "token.actions.githubusercontent.com"
DEPLOYED = {"staging", "production"}  # the example's environments
ROLE = re.compile(r"vars\.(STORAGE_(?:READ|WRITE)_ROLE)")


def asked(role: str) -> set[str]:
    """Return whose run asks for a role: an environment, or `pull_request`."""
    found = set()
    for path in WORKFLOWS.glob("*.yml"):
        for job in yaml.safe_load(path.read_text())["jobs"].values():
            if role in ROLE.findall(json.dumps(job)):
                name = job.get("environment", "pull_request")
                name = name["name"] if isinstance(name, dict) else name
                found |= DEPLOYED if "inputs.environment" in name else {name}
    return found


def policies() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the reader's trust, and what it may do."""
    trust, may = (json.loads(t) for t in re.findall(r"```json\n(.*?)```", PAGE, re.S))
    return trust, may


def test_the_reader_is_whoever_a_workflow_makes_one() -> None:
    """By the exact subject, of this repository, for this cloud: no pattern."""
    (statement,) = policies()[0]["Statement"]
    assert set(statement["Condition"]) == {"StringEquals"}
    equals = statement["Condition"]["StringEquals"]
    assert equals[f"{ISSUER}:aud"] == "sts.amazonaws.com"
    subjects = {s.removeprefix("repo:OWNER/NAME:") for s in equals[f"{ISSUER}:sub"]}
    names = {s.removeprefix("environment:") for s in subjects}
    assert names == asked("STORAGE_READ_ROLE")
    assert "*" not in json.dumps(policies()[0])


def test_the_writer_is_never_a_proposal() -> None:
    """Its subjects, which the page names, are those of jobs that run main's code."""
    writers = asked("STORAGE_WRITE_ROLE")
    assert writers == {"validate", "monitor", "score"}, "no pull_request"
    for name in writers:
        assert f"`environment:{name}`" in PAGE or f"`{name}`" in PAGE
    ref = re.search(r"in `writer-trust.json` the list of subjects is that of (.*?)\n\n", PAGE, re.S)  # fmt: skip  # noqa: E501
    assert ref and set(re.findall(r"`(\w+)`", ref[1])) - {"pull_request"} == writers


def test_a_role_may_do_no_more_than_it_has_to() -> None:
    actions = [s["Action"] for s in policies()[1]["Statement"]]
    assert actions == ["s3:ListBucket", "s3:GetObject"]
    assert "Storage Blob Data Reader" in PAGE and "roles/storage.objectViewer" in PAGE
    assert "assertion.repository=='OWNER/NAME'" in PAGE


def test_aws_policies_are_valid() -> None:
    """By a linter of AWS policies; it is in no lock yet."""
    parliament = pytest.importorskip("parliament", reason="parliament is not installed")
    policy = json.dumps(policies()[1])
    wrong = policy.replace("s3:GetObject", "s3:GetObjekt")
    assert parliament.analyze_policy_string(policy).findings == []
    (finding,) = parliament.analyze_policy_string(wrong).findings
    assert finding.issue == "UNKNOWN_ACTION", "the control"
