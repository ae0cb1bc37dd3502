"""torch's launcher of several processes, as ``python -m torch.distributed.run``.

If one of our tools fails, its own text is the last on the screen, once, in place of
the launcher's report.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

from mmkd_logit.entry_point import MISTAKE, run_tool

# Which process it has started, stopped and lost: the text of that process says why.
os.environ.setdefault('LOGLEVEL', 'CRITICAL')
logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
# As torch and mmengine set them, but with a warning each.
for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(name, '1')


def main() -> int:
    """Start the processes, wait for them, and return the exit code."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException, api
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    received: list[int] = []

    def interrupt(signum: int, frame: Any) -> None:
        # The processes say how to go on after Ctrl-C. SIGTERM ends them at once, even
        # where they wait for one that has failed.
        received.append(signum)
        raise SignalException(f'signal {signum}', signal.SIGINT)

    api._terminate_process_handler = interrupt
    try:
        run.main()
    except SignalException:
        return 128 + received[0]
    except RuntimeError as error:  # torch's, of the network
        raise ValueError(
            f'The processes cannot connect: {error}. If the port is in use, set PORT '
            '(--master_port) to another.'
        ) from error
    except ChildFailedError as error:
        # The others may only have lost their connection to the one with the mistake.
        rank, first = min(
            error.failures.items(),
            key=lambda failure: (failure[1].exitcode != MISTAKE, failure[1].timestamp),
        )
        message: Any = first.message
        if isinstance(message, dict):
            print(message['message'].rstrip(), file=sys.stderr)
        elif first.exitcode < 0:
            print(
                f'Process {rank} was ended by {first.signal_name()}, as happens when '
                'memory runs out.',
                file=sys.stderr,
            )
        return first.exitcode if first.exitcode > 0 else 128 - first.exitcode
    return 0


if __name__ == '__main__':
    run_tool(main)
