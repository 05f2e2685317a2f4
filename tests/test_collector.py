import gc

import pytest

from clntk.collector import collector_at_rest


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_and_is_as_it_was_afterwards(enabled):
    (gc.enable if enabled else gc.disable)()
    try:
        with collector_at_rest():
            assert not gc.isenabled()
        assert gc.isenabled() is enabled
        with pytest.raises(ImportError), collector_at_rest():
            import nothing_of_this_name  # noqa: F401
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
