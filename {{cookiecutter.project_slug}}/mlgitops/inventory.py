"""What main states of its model, as the ledger keeps it beside a verdict or release."""

from dataclasses import asdict
from pathlib import Path

from mlgitops import settings
from mlgitops.pipeline.contract import ContractError, mapping


def stated(folder: Path = Path()) -> dict[str, str]:
    """Return name, owner, risk and licence; what is not stated is empty.

    A mistake in it hinders no verdict and no deployment: it is the `problem`.
    """
    try:
        params = settings.load((folder / "params.yaml").read_bytes())
        name = mapping((folder / "contract.yaml").read_bytes(), "contract.yaml")["name"]
        return {"name": str(name), **asdict(settings.inventory(params))}
    except (OSError, KeyError, ContractError, settings.SettingsError) as error:
        return {"problem": " ".join(str(error).split())[:300]}
