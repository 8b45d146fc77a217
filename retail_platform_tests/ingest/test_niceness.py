"""The ingest gives way: also to processes of other sessions, where the kernel looks at the session first."""

import subprocess
import sys
from pathlib import Path

import pytest

_ASKED = """
import os
from pathlib import Path
from retail_platform.ingest.niceness import give_way
give_way(7)
print(os.nice(0), Path("/proc/self/autogroup").read_text().split()[-1])
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel has no groups by session")
@pytest.mark.parametrize(("own_session", "of_the_session"), [(True, "7"), (False, "0")])
def test_a_session_of_its_own_gives_way_and_one_that_it_shares_does_not(own_session: bool, of_the_session: str) -> None:
    command = [sys.executable, "-c", _ASKED]
    if not own_session:  # a shell that is the session's first process, and not the last
        command = ["/bin/sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, _ASKED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True)
    assert done.stdout.split() == ["7", of_the_session]
