"""Reads a Parquet file from standard input, writes its rows as an Arrow IPC stream.

A program of its own, which the server starts for each Parquet body: what a hostile file
does to the library that reads it ends with this process, which may take neither more
memory nor more time than stated here. It knows nothing of the server:

    python -P parquet.py ROWS BYTES < rows.parquet > rows.arrows
"""

import os
import resource
import sys

MEMORY = 2_000_000_000  # bytes, of addresses
SECONDS = 20  # of a processor


def main() -> None:
    """Read, check the size, write; exit 1 with a sentence where that is not allowed."""
    rows, size = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    try:
        file = pq.ParquetFile(pa.BufferReader(sys.stdin.buffer.read()))
        count = file.metadata.num_rows
        if not 0 < count <= rows:
            raise SystemExit(f"the body has {count} rows; 1 to {rows} are allowed.")
        table = file.read(use_threads=False)
        if table.nbytes > size:
            raise SystemExit(f"the body has more than {size} bytes when it is read.")
        table = table.replace_schema_metadata()
        with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as writer:
            writer.write_table(table)
    except (pa.ArrowException, OSError, MemoryError) as error:
        line = (str(error).splitlines() or ["no more memory"])[0][:200]
        raise SystemExit(f"the body is not a Parquet file: {line}") from None


if __name__ == "__main__":
    main()
