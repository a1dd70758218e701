"""An empty Debian machine with a real systemd: systemd-nspawn on an overlay of the running root, without a network.

Nothing that happens in it reaches this machine: what it writes stays in the overlay's upper directory. The packages
that are installed here are there too, but none of their services is enabled, and their data and configuration are as
the packages left them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NoReturn

import pytest

from tests.services.process import need

EMPTIED: Final = (
    "/etc/kitwatch", "/etc/mosquitto/conf.d", "/etc/nginx/sites-enabled", "/opt", "/usr/local/src", "/var/log/journal",
    "/var/lib/kitwatch", "/var/lib/mosquitto", "/var/lib/influxdb", "/var/log/mosquitto", "/var/lib/nginx",
    "/var/log/nginx", "/var/lib/apt/lists",
)  # fmt: skip
"""Folders whose content this machine begins without; so too every top folder that is not Debian's."""
DEBIAN: Final = (
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "media", "mnt", "opt", "proc", "run", "sbin", "srv",
    "sys", "usr", "var",
)  # fmt: skip
MASKED: Final = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "dpkg-db-backup.timer", "console-getty.service", "systemd-timesyncd.service", "systemd-logind.service",
    "postgresql.service",
)  # fmt: skip
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BOOT_S: Final = 300.0


class Machine:
    """A booted machine. ``root`` is its file tree, seen from outside."""

    def __init__(self, root: Path, nspawn: subprocess.Popen[bytes], leader: int) -> None:
        self.root = root
        self._nspawn = nspawn
        self._leader = leader

    def run(self, script: str, *, timeout: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script in it as root. ``check``: fail the test unless it ends with 0."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
             "env", "-i", "HOME=/root", "LANG=C.UTF-8", f"PATH={PATH}", "DEBIAN_FRONTEND=noninteractive",
             "SYSTEMD_PAGER=", "bash", "-euo", "pipefail", "-c", f"cd /root\n{script}"],
            capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode != 0:
            pytest.fail(f"{script}\nended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit."""
        told = self.run(f"systemctl show '{unit}' --property={','.join(properties)}").stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def journal(self, unit: str) -> str:
        """Return what a unit's processes said."""
        return self.run(f"journalctl --no-pager --output=cat --unit='{unit}'").stdout

    def stop(self) -> None:
        """Shut it down in order, or else for sure."""
        self._nspawn.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(30)
            return
        self._nspawn.kill()
        self._nspawn.wait(10)


@contextlib.contextmanager
def machine(
    directory: Path, *, network: str | None = None, shows: Mapping[Path, str] = MappingProxyType({})
) -> Iterator[Machine]:
    """Yield a booted machine whose files are kept in ``directory``.

    ``network``: a named network namespace to share. ``shows``: folders of ours, and where they are seen there.
    """
    nspawn = need("systemd-nspawn", "systemd-container")
    if os.geteuid() != 0:
        _do_without("it needs root")
    directory.mkdir(parents=True, exist_ok=True)
    with _overlay(directory) as root:
        _forget(root)
        net = f"--network-namespace-path=/run/netns/{network}" if network else "--private-network"
        command = [
            nspawn, "--quiet", "--register=no", "--keep-unit", net, "--link-journal=no", "--resolv-conf=off",
            "--timezone=off", *(f"--bind-ro={ours}:{there}" for ours, there in shows.items()), f"--directory={root}",
            f"--machine={directory.name}", "--console=pipe", "--boot",
        ]  # fmt: skip
        groups = _control_groups(f"{directory.name}-{uuid.uuid4().hex[:8]}")
        enter = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
        with (directory / "boot.log").open("wb") as log:
            process = subprocess.Popen(
                ["sh", "-ec", f'{enter}exec "$@"', "sh", *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        booted: Machine | None = None
        try:
            booted = _wait(root, process, directory / "boot.log")
            yield booted
        finally:
            if booted is not None:
                booted.stop()
            else:
                process.kill()
                process.wait(10)
            for group in groups:
                for path in sorted(group.glob("**/"), reverse=True):
                    with contextlib.suppress(OSError):
                        path.rmdir()


def _control_groups(name: str) -> list[Path]:
    """Make a control group in each hierarchy that systemd manages: two machines in one would end each other."""
    base = Path("/sys/fs/cgroup")
    hierarchies = [base] if (base / "cgroup.procs").exists() else [base / "systemd", base / "unified"]
    groups = [hierarchy / name for hierarchy in hierarchies if hierarchy.is_dir()]
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        _do_without(f"no control group can be made: {error}")
    return groups


def _do_without(reason: str) -> NoReturn:
    """Fail under CI, skip loudly elsewhere."""
    message = f"no machine with a systemd of its own ({reason}): the tests that need one do not run"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    warnings.warn(message, stacklevel=3)
    pytest.skip(message)


@contextlib.contextmanager
def _overlay(directory: Path) -> Iterator[Path]:
    """Yield a writable view of the running root. Upper layers want a file system that is itself no overlay."""
    root, layers = directory / "root", directory / "layers"
    for path in (root, layers):
        path.mkdir()
    on_tmpfs = subprocess.run(["stat", "-f", "-c", "%T", str(layers)], capture_output=True, text=True, check=True)
    if on_tmpfs.stdout.strip() == "overlayfs":
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(layers)], check=True)
    for name in ("upper", "work"):
        (layers / name).mkdir()
    others = [str(path) for path in Path("/").iterdir() if path.name not in DEBIAN and not path.is_symlink()]
    for name in (*EMPTIED, *others):
        _hide(layers / "upper", Path(name))
    options = f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work"
    try:
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(root)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            _do_without(mounted.stderr.strip())
        try:
            yield root
        finally:
            subprocess.run(["umount", "--lazy", str(root)], check=False)
    finally:
        subprocess.run(["umount", "--lazy", "--quiet", str(layers)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(layers, ignore_errors=True)


def _hide(upper: Path, folder: Path) -> None:
    """Have the overlay show a folder empty (an opaque directory, overlayfs of the kernel's documentation)."""
    if not folder.is_dir():
        return
    for path in [*reversed(folder.parents), folder]:
        copy = upper / str(path)[1:]
        if not copy.exists():
            status = path.stat()
            copy.mkdir()
            os.chown(copy, status.st_uid, status.st_gid)
            copy.chmod(status.st_mode & 0o7777)
    os.setxattr(upper / str(folder)[1:], "trusted.overlay.opaque", b"y")


def _forget(root: Path) -> None:
    """Take away what makes this machine this machine."""
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")  # none would be a first boot: everything enabled
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    for wants in (root / "etc/systemd/system").glob("*.wants"):
        shutil.rmtree(wants)
    for name in MASKED:
        link = root / "etc/systemd/system" / name
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def _wait(root: Path, process: subprocess.Popen[bytes], log: Path) -> Machine:
    end = time.monotonic() + BOOT_S
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < end and process.poll() is None:
        leaders = children.read_text().split()
        if leaders:
            booted = Machine(root, process, int(leaders[0]))
            with contextlib.suppress(subprocess.TimeoutExpired):
                state = booted.run("systemctl is-active multi-user.target", check=False, timeout=10).stdout
                if state.strip() == "active":
                    return booted
        time.sleep(0.2)
    raise RuntimeError(f"the machine does not boot (exit {process.poll()}): {log.read_text(errors='replace')[-3000:]}")
