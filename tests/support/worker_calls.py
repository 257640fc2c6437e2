"""What tests let worker processes do: importable by name, as a worker needs it."""

import hashlib
import os
import signal
import time

from vclip_cli.common.errors import DataError, VideoError
from vclip_cli.video import decode
from vclip_cli.video.sampling import Sampling


def behave(shared, key):
    if key == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if key == "leave":
        os._exit(7)
    if key == "hang":
        time.sleep(600)
    if key == "error":
        raise DataError("as asked")
    if key == "grow":
        hoard = [bytearray(b"x" * 50_000_000) for _ in range(100)]
        return len(hoard)
    if key == "grow for a moment":
        return len(b"x" * 90_000_000)  # freed again within milliseconds
    if key == "no memory":
        raise MemoryError
    if key == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
    return shared, key


def answer_by_halves(first, key):
    answer = b"x" * 1_000_000
    if first.exists():
        return answer
    first.touch()
    return HalfAnAnswer()


class HalfAnAnswer:
    """Stops its process for good while it is sent; to the others it is alive."""

    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGSTOP)


def process_id(shared, key):
    return os.getpid()


def decode_one(frames: int, path: str) -> tuple[str, str]:
    """What becomes of a clip in a worker; anything but a VideoError is raised in the test."""
    try:
        clip = decode(path, Sampling(frames).indices)
    except VideoError as error:
        return "refused", error.what
    return "decoded", hashlib.sha256(clip.frames.tobytes()).hexdigest()
