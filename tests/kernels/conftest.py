"""What tests of kernels on disk watch."""

import pytest

from clntk.kernels import request


@pytest.fixture
def contractions(monkeypatch):
    """Counts the tiles that are computed; raises ``what`` in the place of number ``at``."""

    class Counter:
        count, at, what = 0, None, None

        def __call__(self, *args, **kwargs):
            self.count += 1
            if self.count == self.at:
                raise self.what
            return original(*args, **kwargs)

        def end(self, at, what):
            self.count, self.at, self.what = 0, at, what

        def begin(self):
            self.count, self.at = 0, None

    original = request.contracted
    counter = Counter()
    monkeypatch.setattr(request, "contracted", counter)
    return counter
