"""Where rows come from: CSV, SQL, Parquet, object storage; and what is said when there is nothing."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import UserError
from tasks.workloads.sources import Stream, csv, parquet, sql


def rows_of(count: int) -> pd.DataFrame:
    return pd.DataFrame({"code": range(count), "label": ["cat", "dog"] * (count // 2)})


def test_rows_come_from_object_storage_by_address() -> None:
    import fsspec

    with fsspec.filesystem("memory").open("/bucket/rows.parquet", "wb") as file:
        rows_of(40).to_parquet(file, index=False)
    pd.testing.assert_frame_equal(parquet("memory://bucket/rows.parquet")(), rows_of(40))
    assert [len(frame) for frame in Stream("memory://bucket/rows.parquet").frames()] == [40]


def test_rows_come_from_csv_and_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlalchemy

    rows = rows_of(10)
    rows.to_csv(tmp_path / "rows.csv.gz", index=False)
    pd.testing.assert_frame_equal(csv(str(tmp_path / "rows.csv.gz"))(), rows)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    rows.to_sql("rows", engine, index=False)
    engine.dispose()
    with pytest.raises(UserError, match="set SLIPWAY_SQL_URL to its address"):
        sql("select * from rows")()
    monkeypatch.setenv("SLIPWAY_SQL_URL", f"sqlite:///{tmp_path / 'rows.db'}")
    pd.testing.assert_frame_equal(sql("select * from rows")(), rows)
    with pytest.raises(UserError, match="the database cannot be read: .*no such table: nowhere"):
        sql("select * from nowhere")()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is nothing at .*rows.csv: check the address"),
        (b"", "rows.csv is empty: not even a line of column names is in it"),
        ("name\ncaf\xe9\n".encode("latin-1"), "rows.csv is not utf-8 text at byte .*such as 'latin-1'"),
        (b'a,b\n1,2\n"3,4,5\n6,7,8,9\n', "rows.csv cannot be read: "),
    ],
)
def test_a_csv_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        csv(str(tmp_path / "rows.csv"))()
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


def test_parquet_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match=r"rows.parquet is not Parquet: "):
        list(Stream(str(tmp_path / "rows.parquet")).frames())
    with pytest.raises(UserError, match="There is no Parquet at"):
        list(Stream(str(tmp_path / "nowhere")).frames())
