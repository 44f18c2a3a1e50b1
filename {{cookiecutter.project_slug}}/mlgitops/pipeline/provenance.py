"""Where a pretrained file comes from: `train.pretrained` of params.yaml; pure.

The file was made elsewhere, or is a version of this project. It is the model itself
(`train.estimator: pretrained`), or its outputs are features of an estimator that is
trained here on top of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Annotated

from mlgitops.pipeline.schema import PARAMS, Distinct, Location, OrInteger

ESTIMATOR = "pretrained"  # of train.estimator: the file is the model
KEY = Location(PARAMS, "train.pretrained")
SOURCE = re.compile(r"https://[^\s/]+/\S+|[a-z][a-z0-9-]*@v\d+\.\d+\.\d+")


@dataclass(frozen=True)
class Pretrained:
    """A file of the repository, what it is, and how it is used.

    `columns` are those that it takes, in its own order (all of train.columns), and
    `classes` those of its probabilities, where the file itself does not name them.
    """

    file: str
    sha256: str
    licence: str  # an SPDX expression, such as Apache-2.0
    source: str  # https://..., or a version of this project, such as flights@v1.0.0
    output: str = ""  # which of its outputs, where it has several of numbers
    columns: Annotated[tuple[str, ...], Distinct(1)] = ()
    classes: Annotated[tuple[Annotated[str, OrInteger()], ...], Distinct(2)] = ()
    keep: bool = False  # whether the estimator gets these columns beside the outputs


def check(
    estimator: str, columns: Sequence[str], pretrained: Pretrained | None
) -> None:
    """Refuse a section that does not say which file, whose, and for what.

    Raises:
        SettingsError: with the first key that is wrong, and what it should be.
    """
    if pretrained is None:
        if estimator == ESTIMATOR:
            raise KEY.error(
                "is missing: train.estimator is pretrained, so write `pretrained: "
                "{file: model/NAME.onnx, sha256: ..., licence: Apache-2.0, source: "
                "https://...}` below it"
            )
        return
    path = pretrained.file
    if path != normpath(path) or path.startswith(("/", "../")) or "\\" in path:
        allowed = "the path of a file in this repository, such as model/NAME.onnx"
        raise KEY.key("file").wrong(allowed, path)
    if not path.endswith(".onnx"):
        raise KEY.key("file").wrong("an ONNX file (NAME.onnx)", path)
    if not re.fullmatch("[0-9a-f]{64}", pretrained.sha256):
        allowed = f"the 64 digits that `sha256sum {path}` prints"
        raise KEY.key("sha256").wrong(allowed, pretrained.sha256)
    _check_licence(pretrained.licence)
    if not SOURCE.fullmatch(pretrained.source):
        allowed = "an address (https://...) or a version of this project (NAME@v1.0.0)"
        raise KEY.key("source").wrong(allowed, pretrained.source)
    KEY.key("columns").demand(pretrained.columns, columns, "one of train.columns")
    if estimator == ESTIMATOR:
        _check_whole(pretrained, columns)
    elif pretrained.classes:
        problem = "is for train.estimator: pretrained, as outputs are features here"
        raise KEY.key("classes").error(f"{problem}: remove the line")


def _check_licence(licence: str) -> None:
    """Refuse what is not a licence by the names of SPDX."""
    from packaging.licenses import (
        InvalidLicenseExpression,
        canonicalize_license_expression,
    )

    allowed = "an SPDX licence such as Apache-2.0, MIT or LicenseRef-own"
    try:
        name = str(canonicalize_license_expression(licence))
    except InvalidLicenseExpression as error:
        raise KEY.key("licence").wrong(allowed, licence) from error
    if name != licence:
        raise KEY.key("licence").wrong(f"written as SPDX has it, {name}", licence)


def _check_whole(pretrained: Pretrained, columns: Sequence[str]) -> None:
    """Refuse what only makes sense with an estimator on top of the file."""
    if pretrained.keep:
        problem = "is for an estimator that is trained on top of the file"
        raise KEY.key("keep").error(f"{problem}: remove the line")
    unused = [n for n in columns if n not in (pretrained.columns or columns)]
    if unused:
        raise KEY.key("columns").error(
            f"lacks {unused[0]}, which is in train.columns: the file is the model, so "
            "both name the same columns"
        )


def entry(estimator: str, pretrained: Pretrained | None) -> dict[str, object]:
    """Return what a manifest says of a pretrained file; nothing where there is none."""
    if pretrained is None:
        return {}
    whole = estimator == ESTIMATOR
    names = ("file", "sha256", "licence", "source")
    facts: dict[str, object] = {name: getattr(pretrained, name) for name in names}
    return {"pretrained": facts | {"role": "model" if whole else "features"}}
