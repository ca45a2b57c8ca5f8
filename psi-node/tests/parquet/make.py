"""Makes the Parquet files that the tests read. Run with pyarrow (26.0.1 made these): python3 make.py"""

import datetime
import decimal

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 120


def list_of(rows=ROWS):
    """Numbers, names with some missing, cities of which there are few, a count, a note that grows."""
    columns = {
        "no": pa.array(range(rows), pa.int32()),
        "name": pa.array([None if i % 7 == 3 else f"张三{i % 40}" for i in range(rows)], pa.string()),
        "phone": pa.array([f"139{(i * 7919) % 100000000:08}" for i in range(rows)], pa.string()),
        "city": pa.array([["上海", "北京", "广州"][i % 3] for i in range(rows)], pa.string()),
        "count": pa.array([None if i % 5 == 0 else i * i for i in range(rows)], pa.int64()),
    }
    required = ["no", "phone"]
    fields = [pa.field(name, column.type, name not in required) for name, column in columns.items()]
    return pa.table(columns, pa.schema(fields))


def write(name, table=None, **options):
    pq.write_table(list_of() if table is None else table, f"{name}.parquet", store_schema=False, **options)


for codec in ["none", "snappy", "zstd", "gzip", "lz4"]:
    write(codec, compression=codec, row_group_size=50, write_page_checksum=True)
write("pages-v2", compression="zstd", data_page_version="2.0", data_page_size=256, write_batch_size=16)
write("brotli", list_of(8), compression="brotli")
write(
    "delta",
    compression="snappy",
    use_dictionary=False,
    data_page_version="2.0",
    column_encoding={
        "no": "DELTA_BINARY_PACKED",
        "name": "DELTA_BYTE_ARRAY",
        "phone": "DELTA_LENGTH_BYTE_ARRAY",
        "city": "PLAIN",
        "count": "BYTE_STREAM_SPLIT",
    },
)
write("long", pa.table({"phone": ["13900000001", "", None], "note": ["好" * 9000, "b" * 70000, "a"]}), compression="zstd")
write(
    "types",
    pa.table(
        {
            "phone": ["13900000001", "13900000002"],
            "int8": pa.array([-1, None], pa.int8()),
            "uint64": pa.array([2**64 - 1, 7], pa.uint64()),
            "card": pa.array([decimal.Decimal("622202000000000001"), decimal.Decimal(-5)], pa.decimal128(20, 0)),
            "amount": pa.array([decimal.Decimal("12.50"), decimal.Decimal("-0.05")], pa.decimal128(9, 2)),
            "double": pa.array([13912345678.0, 1.1010519491231e17], pa.float64()),
            "float": pa.array([0.5, 13912345678.0], pa.float32()),
            "yes": pa.array([True, False], pa.bool_()),
            "day": pa.array([datetime.date(2024, 2, 29), datetime.date(1969, 12, 31)], pa.date32()),
            "time": pa.array([datetime.time(23, 59, 59, 1000), None], pa.time64("us")),
            "at": pa.array([datetime.datetime(2024, 2, 29, 8, 30), None], pa.timestamp("ms", tz="UTC")),
            "bytes": pa.array([b"abc", b"\xd5\xc5"], pa.binary()),
            "fixed": pa.array([b"\x00\xff", b"ok"], pa.binary(2)),
            "empty": pa.nulls(2),
            "tags": pa.array([["a", "b"], []], pa.list_(pa.string())),
            "who": pa.array([{"id": "1"}, None], pa.struct([("id", pa.string())])),
            "last": ["y", "z"],
        }
    ),
    compression="snappy",
)
write("int96", pa.table({"phone": ["1"], "at": [datetime.datetime(2024, 2, 29, 8, 30)]}), use_deprecated_int96_timestamps=True)
write("no-rows", list_of(0))
