"""A serial port on the event loop: the thin edge that the modem and the GNSS input share.

Name a port by ``/dev/serial/by-id/...``: each opening follows the link anew, so a device that vanished and came back
under another ``ttyUSB`` number is found again. The port is held exclusively and never fought over: a port that
another program uses raises :class:`PortHeld`. pyserial sets the line up; reading and writing go to the descriptor
through ``loop.add_reader`` and ``loop.add_writer``, so nothing here blocks the loop. Linux only.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import termios
from pathlib import Path
from typing import Final, NoReturn

import serial

_TIOCGEXCL: Final = 0x80045440
"""``_IOR('T', 0x40, int)``, linux/asm-generic/ioctls.h; Python's termios does not name it."""
_PTY_MAJORS: Final = range(136, 144)
"""Unix98 pseudo-terminal slaves, Documentation/admin-guide/devices.txt."""
_LOCK_DIRECTORY: Final = Path("/run/lock")
_READ_BYTES: Final = 4096
_WRITE_PENDING: Final = 4096
_BUDGET: Final = 65_536
"""Bytes a second that are read of one port: 460,800 baud bring 46,080, and what never pauses must starve nobody."""
_LEAVE_IT: Final = "tell it to leave this port alone: docs/serial-ports.md"


class PortError(OSError):
    """The port cannot be used. ``path`` is the port as configured, ``why`` one line without it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class PortMissing(PortError):  # noqa: N818
    """There is no such port at this moment: unplugged, or not yet there."""


class PortHeld(PortError):  # noqa: N818
    """Another program holds the port. ``holders`` are its processes as far as this user may see them."""

    def __init__(self, path: str, holders: tuple[str, ...]) -> None:
        why = f"held by {', '.join(holders) if holders else 'another program'}"
        managed = any(holder.startswith("ModemManager ") for holder in holders)
        super().__init__(path, f"{why}; {_LEAVE_IT}" if managed else why)
        self.holders = holders


class PortGone(PortError):  # noqa: N818
    """The port was open and has vanished; open it again."""


class Retry:
    """When to try a port again: at once, then ``first`` seconds later, doubling up to ``most`` seconds.

    Pure; times are monotonic seconds.
    """

    def __init__(self, first: float = 1.0, most: float = 30.0) -> None:
        self._first = first
        self._most = most
        self._delay = 0.0
        self._next = float("-inf")

    def due(self, now: float) -> bool:
        """Return whether it is time to try."""
        return now >= self._next

    def failed(self, now: float) -> None:
        """Note that a try failed: the next one waits longer."""
        self._delay = min(self._most, self._delay * 2 or self._first)
        self._next = now + self._delay

    def succeeded(self) -> None:
        """Note that a try succeeded: the next failure starts from the beginning."""
        self._delay = 0.0
        self._next = float("-inf")


def holders(path: str) -> tuple[str, ...]:
    """Return the other processes that have the device behind ``path`` open, as ``name (pid N)``.

    Reads ``/proc``; processes of other users are seen only with the right to look at them. Runs for some
    milliseconds: call it off the event loop.
    """
    device = os.path.realpath(path)
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            if any(os.readlink(entry) == device for entry in (process / "fd").iterdir()):
                found.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
        except OSError:
            continue
    return tuple(sorted(found))


class SerialPort:
    """One serial port, 8N1 without flow control.

    ``path`` and ``baud`` are as configured. Not for use by two tasks at once.
    """

    def __init__(self, path: str, baud: int) -> None:
        self.path = path
        self._baud = baud
        self._serial: serial.Serial | None = None
        self._pending = b""
        self._readable: asyncio.Future[None] | None = None
        self._opening: asyncio.Future[serial.Serial] | None = None
        self._unwanted: asyncio.Future[serial.Serial] | None = None
        self._paused = True
        """Whether the last read had to wait, and the loop had its turn."""
        self._second = 0.0
        self._spent = 0

    @property
    def is_open(self) -> bool:
        """Whether the port is open, as far as we know."""
        return self._serial is not None

    def moved(self) -> bool:
        """Return whether ``path`` leads by now to another device than the open one (it was plugged in anew)."""
        if self._serial is None:
            return False
        try:
            return os.stat(self.path).st_rdev != os.fstat(self._serial.fileno()).st_rdev
        except OSError:
            # Links go and come while udev works; the open device itself tells when it is gone.
            return False

    async def open(self) -> None:
        """Open the port, or do nothing if it is open.

        Raises PortMissing, PortHeld, or PortError for anything else (no permission, not a serial port).
        """
        if self._serial is not None:
            return
        if self._unwanted is not None:
            await asyncio.wait({self._unwanted})  # else we would find the port held, by ourselves
            self._unwanted = None
        if self._opening is None:
            # A wedged USB device can hold open() for seconds in the kernel.
            self._opening = asyncio.ensure_future(asyncio.to_thread(_open, self.path, self._baud))
        try:
            # Cancelled, the opening goes on, and the next call takes what comes of it.
            self._serial = await asyncio.shield(self._opening)
        except PortError:
            self._opening = None
            raise
        self._opening = None
        self._pending = b""

    def write(self, data: bytes) -> None:
        """Send ``data``, later where the line is busy.

        Raises PortGone when the port is not open, has vanished, or has not taken 4096 earlier bytes.
        """
        port = self._opened()
        if len(self._pending) + len(data) > _WRITE_PENDING:
            self._lost("takes no data")
        idle = not self._pending
        self._pending += data
        if idle:
            self._flush(port)
        if self._pending:
            asyncio.get_running_loop().add_writer(port.fileno(), self._writable)

    async def read(self) -> bytes:
        """Return the next bytes, at least one and at most 4096; waits as long as it takes.

        A device that never pauses gets 64 KiB a second and gives way to all others between two reads.
        Raises PortGone when the port is not open or has vanished.
        """
        loop = asyncio.get_running_loop()
        if not self._paused:
            await self._give_way(loop)
        port = self._opened()
        while True:
            try:
                data = os.read(port.fileno(), _READ_BYTES)
            except BlockingIOError:
                self._paused = True
                self._readable = readable = loop.create_future()
                loop.add_reader(port.fileno(), _wake, readable)
                try:
                    await readable
                finally:
                    if self._serial is port:
                        loop.remove_reader(port.fileno())
                if self._serial is not port:
                    raise PortGone(self.path, "closed") from None
            except OSError as error:
                self._lost(os.strerror(error.errno or errno.EIO))
            else:
                if not data:
                    self._lost("hung up")
                self._paused = False
                self._spent += len(data)
                return data

    async def _give_way(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the others run, until the next second where this one's bytes are spent."""
        now = loop.time()
        if now - self._second >= 1.0:
            self._second, self._spent = now, 0
        await asyncio.sleep(self._second + 1.0 - now if self._spent >= _BUDGET else 0)

    def close(self) -> None:
        """Let go of the port; harmless when it is closed."""
        if self._opening is not None:
            self._unwanted, self._opening = self._opening, None
            if self._unwanted.done():
                _close_unwanted(self._unwanted)
            else:
                self._unwanted.add_done_callback(_close_unwanted)
        port, self._serial = self._serial, None
        if port is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            loop.remove_reader(port.fileno())
            loop.remove_writer(port.fileno())
        if self._readable is not None:
            _wake(self._readable)  # a reader that waits learns that the port is closed
        _close(port)

    def _opened(self) -> serial.Serial:
        if self._serial is None:
            raise PortGone(self.path, "not open")
        return self._serial

    def _lost(self, why: str) -> NoReturn:
        self.close()
        raise PortGone(self.path, why)

    def _flush(self, port: serial.Serial) -> None:
        try:
            sent = os.write(port.fileno(), self._pending)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(os.strerror(error.errno or errno.EIO))
        self._pending = self._pending[sent:]

    def _writable(self) -> None:
        port = self._serial
        if port is None:
            return
        try:
            self._flush(port)
        except PortGone:
            return  # the next read or write says so
        if not self._pending:
            asyncio.get_running_loop().remove_writer(port.fileno())


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _close_unwanted(opening: asyncio.Future[serial.Serial]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        _close(opening.result())


def _open(path: str, baud: int) -> serial.Serial:
    """Open and configure the line; runs in a thread."""
    locked = _lock_file_holder(path)
    if locked is not None:
        raise PortHeld(path, (locked,))
    try:
        port = serial.Serial(path, baud, timeout=0, exclusive=True)
    except (OSError, ValueError, termios.error) as error:
        code = getattr(error, "errno", None)
        if code in (errno.EAGAIN, errno.EBUSY):
            raise PortHeld(path, holders(path)) from error
        if code in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO):
            raise PortMissing(path, os.strerror(code)) from error
        raise PortError(path, os.strerror(code) if code else "not a serial port") from error
    try:
        _claim(path, port)
    except BaseException:
        port.close()
        raise
    return port


def _claim(path: str, port: serial.Serial) -> None:
    """See that nobody else uses the open ``port``, keep others out, and make reads tell "nothing" from "gone"."""
    descriptor = port.fileno()
    exclusive = array.array("i", [0])
    fcntl.ioctl(descriptor, _TIOCGEXCL, exclusive)  # root is let in whatever ModemManager has claimed
    if exclusive[0]:
        raise PortHeld(path, holders(path))
    if os.major(os.fstat(descriptor).st_rdev) not in _PTY_MAJORS:
        # A pty's slave is also open in the program that plays the device, and keeps the exclusive flag after we are
        # killed; on a real port a reader without any lock would steal our bytes.
        others = holders(path)
        if others:
            raise PortHeld(path, others)
        fcntl.ioctl(descriptor, termios.TIOCEXCL)
    try:
        attributes = termios.tcgetattr(descriptor)
        attributes[2] &= ~termios.HUPCL  # dropping DTR at close makes some modems hang up their data call
        attributes[6][termios.VMIN] = 1  # an empty line is EAGAIN, b"" is a hang-up
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    except termios.error as error:
        raise PortMissing(path, str(error)) from error


def _close(port: serial.Serial) -> None:
    try:
        # Unsent output would let close() wait up to 30 s (closing_wait).
        termios.tcflush(port.fileno(), termios.TCOFLUSH)
        if os.major(os.fstat(port.fileno()).st_rdev) not in _PTY_MAJORS:
            fcntl.ioctl(port.fileno(), termios.TIOCNXCL)
    except (OSError, termios.error):
        pass  # gone already
    try:
        port.close()
    except OSError:
        pass


def _lock_file_holder(path: str) -> str | None:
    """Return who holds the UUCP lock file of the device (minicom, picocom, wvdial), or None. FHS 3.0 section 5.9."""
    lock = _LOCK_DIRECTORY / f"LCK..{os.path.basename(os.path.realpath(path))}"
    try:
        process = int(lock.read_text(encoding="ascii").split()[0])
        os.kill(process, 0)
    except PermissionError:
        return f"pid {process}"
    except (OSError, ValueError, IndexError):
        return None  # no lock, or one whose owner is dead
    return f"pid {process}" if process != os.getpid() else None
