"""The command line: ``pyro-rvae train | evaluate | report``, and what uses a run: ``sample``, ``forecast``, ..."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .telling import in_words, is_of_memory, out_of_memory, plain_warnings, tell

__all__ = ["main"]


def main(words: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns the exit code: 0; 2 for what cannot be done as asked (one message on stderr); 1 where a disk or the
    arithmetic failed, or a section of a report (which is written without it); 130 after Ctrl-C.
    """
    words = sys.argv[1:] if words is None else list(words)
    command = words[0] if words else ""
    if command in ("", "-h", "--help", "--version"):
        return _overview(command)
    try:
        with plain_warnings(command):
            return _run(words)
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)
    except (ValueError, TypeError, RuntimeError, MemoryError, OverflowError) as error:
        return _complain(command, error, 2)
    except (OSError, FloatingPointError) as error:
        return _complain(command, error, 1)
    except KeyboardInterrupt:
        tell(command, "interrupted")
        return 130


def _run(words: Sequence[str]) -> int:
    from .commands import evaluate, report, sample, train  # here, as is all that imports torch: --help shall be quick
    from .parser import parse
    from .settings import Evaluate, Report, Sample, Train
    from .using import use

    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a user's own model stands in the folder that the command is called from
    settings = parse(words)
    if isinstance(settings, Train):
        return train(settings)
    if isinstance(settings, Evaluate):
        return evaluate(settings)
    if isinstance(settings, Sample):
        return sample(settings)
    return report(settings) if isinstance(settings, Report) else use(settings)


def _overview(command: str) -> int:
    if command == "--version":
        from importlib.metadata import version

        print(version("pyro-rvae"))
        return 0
    from .parser import overview

    print(overview(), file=sys.stdout if command else sys.stderr)
    return 0 if command else 2


def _complain(command: str, error: Exception, code: int) -> int:
    """One message on stderr. What was raised elsewhere, in a user's own model say, goes on with its traceback."""
    if is_of_memory(error):
        tell(command, out_of_memory())
        return 2
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    ours = last is not None and Path(last.tb_frame.f_code.co_filename).is_relative_to(Path(__file__).parents[1])
    if (not ours and not isinstance(error, OSError)) or isinstance(error, RuntimeError):
        raise error
    tell(command, in_words(command, str(error)))
    return code
