"""Exchanges an app's private key for a token, as the real action does."""

import json
import os
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def main() -> None:
    """Ask for the permissions that the ``permission-*`` inputs name."""
    inputs = {k: v for k, v in json.loads(os.environ["ASKED"]).items() if v}
    permissions = {
        key.removeprefix("permission-").replace("-", "_"): value
        for key, value in inputs.items()
        if key.startswith("permission-")
    }
    url = f"{os.environ['GITHUB_API_URL']}/app/installations/{os.environ['APP']}"
    request = Request(  # noqa: S310 (the forge's own address)
        f"{url}/access_tokens",
        data=json.dumps({"permissions": permissions}).encode(),
        headers={"Authorization": f"Bearer {os.environ['KEY']}"},
    )
    try:
        with urlopen(request) as response:  # noqa: S310
            token = json.load(response)["token"]
    except HTTPError as error:
        raise SystemExit(f"The app gets no token: {error} {error.read()!r}") from error
    print(f"::add-mask::{token}")
    with open(os.environ["GITHUB_OUTPUT"], "a", encoding="utf-8") as output:
        output.write(f"token={token}\n")


if __name__ == "__main__":
    main()
