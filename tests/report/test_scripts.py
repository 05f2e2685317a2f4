"""A page's scripts end where they should, and its policy names them and nothing else."""

import hashlib
import re
from base64 import b64decode

from clntk.report.scripts import policy, scripts


def test_no_script_ends_its_element_or_begins_a_comment():
    for code in scripts(charts=True):
        assert code
        assert not re.search(r"</script|<!--", code, re.IGNORECASE)


def test_the_policy_names_the_digest_of_each_script_and_no_other_source():
    said = dict(part.split(" ", 1) for part in policy(("one", "two")).split("; "))
    digests = [b64decode(source.strip("'").removeprefix("sha256-")) for source in said["script-src"].split()]
    assert digests == [hashlib.sha256(code).digest() for code in (b"one", b"two")]
    assert said["default-src"] == "'none'"
    assert "http" not in policy(("one",))
