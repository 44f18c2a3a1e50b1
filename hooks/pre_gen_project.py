"""Refuse an answer that would break the project, saying what to type instead."""

import re
import sys

FOLDER = r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/\.?[A-Za-z0-9_][A-Za-z0-9_.-]*)*/?"
HOST = r"([a-z_][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?/"
RESERVED = (
    r"(?!(con|prn|aux|nul|com\d|lpt\d|data|deploy|example|mlgitops|model|tests?)$)"
)
STORAGE = "{{ cookiecutter.storage }}"
BUCKETS = ("s3", "gs", "azure")  # their address begins with a bucket, not with a host
PORT = "" if STORAGE in BUCKETS else r"([A-Za-z0-9][A-Za-z0-9.-]*:[0-9]+/)?"
URL = {
    "branch": ("branch", "the word branch, as the repository itself keeps the data"),
    "local": (rf"/?(\.\./)*\.?{FOLDER}", "a folder, such as /srv/models"),
    "ssh": (rf"ssh://{HOST}{FOLDER}", "an address, such as ssh://machine/folder"),
}.get(
    STORAGE,
    (
        rf"{STORAGE}://{PORT}{FOLDER}",
        f"an address without a login, such as {STORAGE}://bucket",
    ),
)
RULES = {  # answer: (longest, pattern, what to type instead)
    "project_name": (60, r"[^\W_][\w .,!?&()'+-]*", "letters, digits and spaces"),
    "project_slug": (
        40,
        RESERVED + r"[a-z](-?[a-z0-9])+",
        "lower-case letters, digits and single hyphens, and no reserved name",
    ),
    "description": (
        200,
        r"(?=.*\w)[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\\`<>{}|]*",
        "one line of words, without markup, code or emoji",
    ),
    "github_owner": (39, r"[A-Za-z0-9](-?[A-Za-z0-9])*", "a name such as octo-org"),
    "storage_url": (200, *URL),
}
ANSWERS = {
    "project_name": "{{ (cookiecutter.project_name | jsonify)[1:-1] }}",
    "project_slug": "{{ (cookiecutter.project_slug | jsonify)[1:-1] }}",
    "description": "{{ (cookiecutter.description | jsonify)[1:-1] }}",
    "github_owner": "{{ (cookiecutter.github_owner | jsonify)[1:-1] }}",
    "storage_url": "{{ (cookiecutter.storage_url | jsonify)[1:-1] }}",
}
for name, (longest, pattern, instead) in RULES.items():
    if len(ANSWERS[name]) > longest or not re.fullmatch(pattern, ANSWERS[name]):
        instead += f" (at most {longest} characters)"
        shown = re.sub("//[^/]*@", "//***@", ANSWERS[name])  # a password is not printed
        sys.exit(f"{name} cannot be {shown[:80]!a}: type {instead}.")
