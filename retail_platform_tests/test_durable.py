"""A file is replaced whole, and what a killed process left beside it does not stay for ever."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from retail_platform.durable import replace_text, replaced


def test_a_block_that_fails_leaves_the_file_as_it_was_and_no_draft(tmp_path: Path) -> None:
    file = tmp_path / "kpis.csv"
    replace_text(file, "old\r\n")
    with contextlib.suppress(ZeroDivisionError), replaced(file) as draft:
        draft.write_text("half")
        raise ZeroDivisionError
    assert file.read_bytes() == b"old\r\n"
    assert list(tmp_path.iterdir()) == [file]


def test_the_draft_of_a_process_that_was_killed_is_removed_and_that_of_one_at_work_is_not(tmp_path: Path) -> None:
    file, other = tmp_path / "kpis.csv", tmp_path / ".marts.csv.1.tmp"
    abandoned, at_work = tmp_path / ".kpis.csv.1.tmp", tmp_path / ".kpis.csv.2.tmp"
    long_ago = time.time() - 7200
    for draft in (abandoned, at_work, other):
        draft.touch()
    for draft in (abandoned, other):
        os.utime(draft, (long_ago, long_ago))
    replace_text(file, "new")
    assert sorted(tmp_path.iterdir()) == sorted([file, at_work, other])
