"""Ships the prediction log of a server to where the monitor reads it.

    python -m mlgitops ship /var/log/model s3://bucket/log --keep-days 90

Each line is in one Parquet file there, by day of writing, whatever fails on the way.
Lines leave the folder when they were read back at the address; where that cannot be
reached they stay, and the next run tries again. Run it every few minutes (a systemd
timer, cron, a Kubernetes CronJob): the server itself ships nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mlgitops.commands.expected import expected_errors
from mlgitops.shipping.ship import ShipError, ship


def main() -> None:
    """Ship once; exit 1 with a sentence where something stays behind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="the folder of the server's --log")
    parser.add_argument("address", help="a folder, or an address such as s3://a/log")
    text = "delete what was logged longer ago there (never by default)"
    parser.add_argument("--keep-days", type=int, metavar="N", help=text)
    args = parser.parse_args()
    if args.keep_days is not None and args.keep_days < 1:
        raise SystemExit(f"ship: --keep-days must be 1 or more, got {args.keep_days}")
    with expected_errors("ship: ", ShipError):
        print(ship(args.source, args.address, args.keep_days))
