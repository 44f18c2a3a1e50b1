"""The cloud's side of docs/storage.md fits the workflows, and trusts nobody else."""

import json
import re
import subprocess
import sys
from pathlib import Path
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


def section(cloud: str) -> str:
    """Return the commands that a cloud's section of the page has."""
    return re.split(r"^### ", PAGE.split(f"### {cloud}")[1], flags=re.M)[0]


def test_google_and_azure_give_each_account_its_role_and_trust_a_subject() -> None:
    """No validator of theirs works without an account: names, and who is trusted."""
    google, azure = section("Google Cloud Storage"), section("Azure Blob Storage")
    bound = r"--role roles/(\S+) \\\n\s+--member serviceAccount:NAME-(\w+)@"
    roles = {("storage.objectViewer", "reader"), ("storage.objectUser", "writer")}
    assert set(re.findall(bound, google)) == roles
    assert "roles/iam.workloadIdentityUser" in google
    assert '--role "Storage Blob Data Reader"' in azure
    assert '"Storage Blob Data Contributor"' in azure.split("For the writer")[1]
    login = (WORKFLOWS.parents[1] / "mlgitops" / "login.py").read_text()
    assert re.findall(r"api://\w+", azure) == re.findall(r"api://\w+", login)
    for text in (google, azure):
        assert f"https://{ISSUER}" in text
        assert set(re.findall(r"repo:OWNER/NAME:[\w:]+", text)) == {
            "repo:OWNER/NAME:pull_request"
        }


WRONG = (  # what AWS's linter has to find, each in a role of its own
    ("s3:GetObject", "s3:GetObjekt"),
    ("s3:ListBucket", "s4:ListBucket"),
    ("sts:AssumeRoleWithWebIdentity", "sts:AssumeRoleWithWebIdentiti"),
    ('"Allow"', '"Alow"'),
    ('"Resource"', '"Ressource"'),
    ('"Condition"', '"Conditions"'),
    ('"Principal"', '"Principle"'),
    ("StringEquals", "StringEqual"),
    ("2012-10-17", "2012-10-18"),
    ("arn:aws:s3", "aws:s3"),
)


@pytest.fixture(scope="module")
def cfn_lint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return AWS's linter, by a lock with hashes, in an environment of its own."""
    venv, lock = tmp_path_factory.mktemp("clouds"), ROOT / "requirements" / "clouds.txt"
    uv = ("uv", "--quiet")
    subprocess.run((*uv, "venv", "--python", sys.executable, venv), check=True)
    install = (*uv, "pip", "install", "--require-hashes", "-r", lock)
    subprocess.run((*install, "--python", venv), check=True)
    return venv / "bin" / "cfn-lint"


def role(trust: dict[str, Any], may: dict[str, Any]) -> dict[str, Any]:
    """Return a role as a template of AWS has it."""
    policies = [{"PolicyName": "storage", "PolicyDocument": may}]
    properties = {"AssumeRolePolicyDocument": trust, "Policies": policies}
    return {"Type": "AWS::IAM::Role", "Properties": properties}


@pytest.mark.slow
def test_aws_policies_are_valid(cfn_lint: Path, tmp_path: Path) -> None:
    """By AWS's own linter; each mistake in WRONG is a control."""
    text = json.dumps(policies())
    write = text.replace('"s3:GetObject"', '["s3:GetObject", "s3:PutObject"]')
    texts = {"Reader": text, "Writer": write}
    texts |= {f"Wrong{n}": text.replace(*each) for n, each in enumerate(WRONG)}
    assert len(set(texts.values())) == len(texts), "each mistake changes something"
    resources = {name: role(*json.loads(text)) for name, text in texts.items()}
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"Resources": resources}))
    command = (cfn_lint, template, "--format", "json", "--regions", "us-east-1")
    done = subprocess.run(command, capture_output=True, text=True)
    found = {match["Location"]["Path"][1] for match in json.loads(done.stdout)}
    assert found == {name for name in texts if name.startswith("Wrong")}, done.stdout


def test_who_is_trusted_is_spelt_as_aws_has_it() -> None:
    """What its linter does not look at: the kind of principal, and its address."""
    (statement,) = policies()[0]["Statement"]
    (kind,) = statement["Principal"]
    assert kind == "Federated"
    address = rf"arn:aws:iam::\d{{12}}:oidc-provider/{re.escape(ISSUER)}"
    assert re.fullmatch(address, statement["Principal"][kind])
    (equals,) = statement["Condition"].values()
    assert set(equals) == {f"{ISSUER}:aud", f"{ISSUER}:sub"}
