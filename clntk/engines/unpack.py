"""What Dask sends to a worker as code rather than as a name, so that a worker without clntk can say so."""

from typing import Any

UNREADABLE = "unreadable"
RESULT = "result"


def carry_out(cell: bytes, *, topic: str) -> dict[str, Any]:
    """On a worker: carry out one cell; what it says goes to the topic, to which the driver listens.

    Dask restarts for ever a worker that fails to read what it is sent: so this reads it, and what fails is an answer.
    """
    import pickle

    from distributed import get_worker

    worker = get_worker()
    try:
        from clntk.engines.dask import speaker, work_of

        function, found = work_of(topic), pickle.loads(cell)
    except Exception as error:
        return {UNREADABLE: f"{worker.address} ({type(error).__name__}: {error})"}
    return {RESULT: function(found, speaker(worker, topic))}
