"""A failing test of a page leaves a picture: seen with one that fails on purpose, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.services.process import need

HERE = Path(__file__).parent


def test_a_failing_test_leaves_a_picture(tmp_path: Path) -> None:
    need("chromium", "chromium")
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(
        "from tests.browser.chromium import browser\n"
        "def test_fails(browser):\n"
        "    page = browser.new_page()\n"
        "    page.set_content('<h1>what was seen</h1>')\n"
        "    assert page.title() == 'no'\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(HERE.parents[1])}, capture_output=True,
        text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    (picture,) = (tmp_path / "test-pictures").iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")
