"""The code that a page brings along, and the policy by which a browser runs no other."""

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files

from markupsafe import Markup


@cache
def scripts(*, charts: bool) -> tuple[Markup, ...]:
    """The page's own script, for charts after Vega-Lite with what it needs; each to stand in a ``script`` element."""
    own = files("clntk.report").joinpath("page.js").read_text(encoding="utf-8")
    code = [_vega_lite(), own] if charts else [own]
    return tuple(Markup(_embeddable(text)) for text in code)


def _vega_lite() -> str:
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def policy(code: tuple[str, ...]) -> str:
    """A content security policy that allows these scripts and no other, images within the page, and no network.

    Args:
        code: the text of each script element, as it stands in the page.
    """
    digests = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in code)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}"


def _embeddable(code: str) -> str:
    """The code with nothing in it that would end its element."""
    return re.sub(r"</(script)", r"<\\/\1", code, flags=re.IGNORECASE).replace("<!--", "<\\!--")
