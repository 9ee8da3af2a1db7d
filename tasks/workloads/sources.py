"""Where rows come from: files inside installed packages and of the system, and data that grows."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks.errors import UserError
from tasks.system.sentences import first_line, typed_line

if TYPE_CHECKING:
    import pandas as pd
    from pyarrow.parquet import ParquetFile

    Load = Callable[[], pd.DataFrame]


def packaged_file(package: str, path: str, extra: str) -> Path:
    """A data file inside an installed package, by path: importing the package may be slow, or fail.

    Raises UserError, naming the extra that installs it, when package or file is absent.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"The package {package!r} is not installed: pip install 'slipway[{extra}]'.")
    file = Path(spec.origin).parent / path
    if not file.is_file():
        raise UserError(
            f"The package {package!r} has no {path}: install the version in requirements.lock, pip install 'slipway[{extra}]'."
        )
    return file


def parquet(
    url: str, columns: "Sequence[str] | None" = None, stream: bool = False, **storage: Any
) -> "Load | Stream":
    """`load` for Parquet: a file, or a folder of files, here or in object storage (s3://…, by fsspec).

    `stream`: never hold more than a row group, for rows that do not fit in memory. `storage` goes to fsspec, such as
    endpoint_url; secrets belong in the environment.
    """
    if stream:
        return Stream(url, tuple(columns) if columns else None, storage)

    def load() -> "pd.DataFrame":
        import pandas as pd

        with _explained(url):
            return pd.read_parquet(
                url, columns=list(columns) if columns else None, storage_options=storage or None
            )

    return load


@dataclass(frozen=True)
class Stream:
    """Parquet that is read a row group at a time; called, it is a `load` that reads all of it."""

    url: str
    columns: tuple[str, ...] | None = None
    storage: "Mapping[str, Any]" = field(default_factory=dict)

    def __call__(self) -> "pd.DataFrame":
        import pandas as pd

        return pd.concat(list(self.frames()), ignore_index=True)

    def frames(self, columns: "Sequence[str] | None" = None) -> "Iterator[pd.DataFrame]":
        """Each row group in order, only these columns. Raises UserError for what is not there or is no Parquet."""
        wanted = columns or self.columns
        for _, _, file in self.files():
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=list(wanted) if wanted else None).to_pandas()

    def files(self) -> "Iterator[tuple[dict[str, Any], IO[bytes], ParquetFile]]":
        """What the storage says of each file (name, size, and what tells its versions apart), its bytes, and the file, opened."""
        import fsspec
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile

        try:
            system, root = fsspec.core.url_to_fs(self.url, **self.storage)
            names = [root] if system.isfile(root) else sorted(system.glob(f"{root.rstrip('/')}/**/*.parquet"))
        except (OSError, ImportError, ValueError) as error:
            raise UserError(f"{self.url} cannot be read: {first_line(error)}.") from error
        if not names:
            raise UserError(f"There is no Parquet at {self.url}: check the address.")
        for name in names:
            with system.open(name, "rb") as content:
                try:
                    yield system.info(name), content, ParquetFile(content)
                except ArrowInvalid as error:
                    raise UserError(f"{name} is not Parquet: {first_line(error)}.") from error


def csv(
    url: str, encoding: str = "utf-8", storage: "Mapping[str, Any] | None" = None, **options: Any
) -> "Load":
    """`load` for CSV, also compressed; `options` are those of pandas.read_csv (dtype, sep, parse_dates, …)."""

    def load() -> "pd.DataFrame":
        import pandas as pd

        given = dict(storage) if storage else None
        with _explained(url):
            return pd.read_csv(url, encoding=encoding, storage_options=given, **options)

    return load


def sql(query: str, url: str = "", variable: str = "SLIPWAY_SQL_URL") -> "Load":
    """`load` for the rows of a query, by SQLAlchemy; without `url`, the environment's `variable` has the address."""

    def load() -> "pd.DataFrame":
        import pandas as pd
        import sqlalchemy

        address = url or os.environ.get(variable)
        if not address:
            raise UserError(
                f"No database to ask: set {variable} to its address, such as postgresql://host/name."
            )
        with _explained("the database"):
            return pd.read_sql_query(sqlalchemy.text(query), address)

    return load


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """What a source commonly lacks, said in a sentence."""
    try:
        yield
    except Exception as error:
        raise UserError(_sentence(name, error)) from error


def _sentence(name: str, error: Exception) -> str:
    from pandas.errors import EmptyDataError

    match error:
        case FileNotFoundError():
            return f"There is nothing at {name}: check the address."
        case PermissionError():
            return f"{name} may not be read ({error}): check the rights or the credentials."
        case EmptyDataError():
            return f"{name} is empty: not even a line of column names is in it."
        case UnicodeDecodeError():
            return f"{name} is not {error.encoding} text at byte {error.start}: give csv() its encoding, such as 'latin-1'."
        case ImportError():
            return f"{name} cannot be read without another package: {error}."
        case ValueError() | OSError():
            return f"{name} cannot be read: {first_line(error)}."
    return f"{name} cannot be read: {typed_line(error)}."  # databases' and storages' own errors have no common base
