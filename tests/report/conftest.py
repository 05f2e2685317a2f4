"""What tests of pages share."""

import pytest

import clntk


@pytest.fixture(scope="session")
def page(smoke_runs, tmp_path_factory):
    """The report of the smoke protocol: it takes its time, and nobody changes it."""
    return clntk.write_report(smoke_runs, tmp_path_factory.mktemp("report") / "report.html")
