"""A part of the campaign: folders that were handed over and are not what they were, through the commands of their page."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from campaign import Case, Part, Tried, Try, Wrong
from changed_folders import Folders
from page_of_folder import refused_by

CASES, A_CASE = 100, 100


@contextmanager
def open_attestations(scratch: Path) -> Iterator[Try]:
    into = scratch / "changed"
    both = Folders(scratch / "of-one-key"), Folders(scratch / "of-two-keys", rotated=True)
    for folders in both:
        if (refused := refused_by(folders.page, folders.folder, folders.key)) is not None:
            raise Wrong(f"the folder itself is refused: {refused}")

    def attempt(case: Case) -> Tried:
        dice, by = case.dice, [0, 0, 0, 0, 0, 0]
        for _ in range(A_CASE):
            folders = dice.choice(both)
            what = folders.changed(into, dice)
            refused = refused_by(folders.page, into, folders.key)
            if refused is None:
                raise Wrong(f"accepted: {what}")
            by[refused[0]] += 1
        return Tried(
            "refused by a command of the page",
            A_CASE,
            {f"by step {n}": float(count) for n, count in enumerate(by) if n > 1},
        )

    yield attempt


PARTS = (
    Part(
        "attestations", "attested folders changed by chance or by somebody, through the commands of their page",
        CASES, open_attestations, tries=A_CASE,
    ),
)  # fmt: skip
