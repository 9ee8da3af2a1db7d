"""The process that follows the registry. It starts the one that inspects versions first, whose imports take longer."""

import asyncio
import socket
import sys

from infra.serving.ipc.launch import start_inspector


def main() -> None:
    """Started by the supervisor: the job on standard input, the line as a descriptor."""
    inspector = start_inspector()
    try:
        from infra.serving.ipc.log import set_up
        from infra.serving.lifecycle.follower import follow
        from infra.serving.options import ProcessJob

        if text := sys.stdin.buffer.read():  # nothing: started early, and not needed after all
            job = ProcessJob.model_validate_json(text)
            set_up(job.options.log_level, "follower")
            asyncio.run(follow(job, socket.socket(fileno=int(sys.argv[1])), inspector))
    finally:
        inspector.discard()


if __name__ == "__main__":
    main()
