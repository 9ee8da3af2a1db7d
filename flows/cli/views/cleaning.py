"""`slipway clean`: what was removed, or would be, and what that frees."""

from rich.console import Console

from flows.cli.views import or_json
from flows.pipeline.retention import Cleaning


@or_json
def show_cleaning(cleaning: Cleaning, console: Console) -> None:
    """Print it on stdout: one JSON object, or lines for people."""
    for removal in cleaning.removed:
        console.print(f"{removal.bytes / 1e6:9.1f} MB  {removal.path}: {removal.why}", markup=False)
    for model in cleaning.busy:
        console.print(f"{model}: a run is at work, so nothing of it was removed; try again when it is done.")
    done = "would be removed" if cleaning.dry_run else "removed"
    console.print(f"{len(cleaning.removed)} {done}, {cleaning.size / 1e6:.1f} MB.")
