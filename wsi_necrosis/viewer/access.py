"""Who may use the viewer: requests to this address, from its own page, by whoever knows its token."""

from __future__ import annotations

import json
import logging
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NoReturn

from tornado.web import Finish, HTTPError, RequestHandler

from wsi_necrosis.errors import GoneError, UsageError, WsiNecrosisError

TOKEN_BYTES = 32
MOST_BODY = 2**16  # bytes of a request
ADDRESS = "127.0.0.1"
EMPTY_STYLE = (
    "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # of no bytes: one element in the page is empty
)
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src 'self'; style-src 'self' '{EMPTY_STYLE}'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """What a request must bring.

    Attributes
    ----------
    port : int
        That the server listens on.
    token : str
        In the address that the page is opened with, then in a cookie.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES), repr=False)

    @property
    def hosts(self) -> tuple[str, str]:
        """Names that the page may be opened by; others may be a foreign name that leads to this machine."""
        return f"{ADDRESS}:{self.port}", f"localhost:{self.port}"

    @property
    def cookie(self) -> str:
        """Name of the cookie; ports of one machine share their cookies."""
        return f"wsi-necrosis-{self.port}"

    @property
    def address(self) -> str:
        """Where the page is opened."""
        return f"http://{self.hosts[0]}/?token={self.token}"

    def knows(self, token: str | None) -> bool:
        """Whether it is the token; takes the same time for all that are not."""
        return token is not None and secrets.compare_digest(token.encode(), self.token.encode())


class GuardedHandler(RequestHandler):
    """Refuses requests that are not this page's; answers errors as JSON with a sentence."""

    def initialize(self, access: Access, **kept: Any) -> None:
        """Keep what the application gives to its handlers."""
        self.access = access
        for name, value in kept.items():
            setattr(self, name, value)

    def set_default_headers(self) -> None:
        """Headers of every answer."""
        self.clear_header("Server")
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        """Check who asks."""
        hosts, headers = self.access.hosts, self.request.headers
        if self.request.host not in hosts:
            self.refuse(
                HTTPStatus.FORBIDDEN, f"this page is at {hosts[0]} alone, not at {self.request.host[:80]}"
            )
        origin = headers.get("Origin")
        if origin is not None and origin != f"http://{self.request.host}":
            self.refuse(HTTPStatus.FORBIDDEN, "another page sent this request, which may not use the viewer")
        if not self.access.knows(self.get_cookie(self.access.cookie)) and not self._brings_token():
            self.refuse(
                HTTPStatus.FORBIDDEN,
                "the token is missing or wrong; open the whole address that `wsi-necrosis view` printed",
            )

    def refuse(self, status: HTTPStatus, why: str) -> NoReturn:
        """End the request with a sentence."""
        self.set_status(status)
        self.finish({"error": why})
        raise Finish

    def body(self) -> dict[str, Any]:
        """The JSON object that a request brings; anything else is refused."""
        kind = self.request.headers.get("Content-Type", "").partition(";")[0]
        try:
            facts = json.loads(self.request.body) if kind == "application/json" else None
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            self.refuse(HTTPStatus.BAD_REQUEST, "the request is no JSON object")
        return facts

    def write_error(self, status_code: int, **facts: Any) -> None:
        """Answer an error: ours with its sentence, others without what they say."""
        error = facts.get("exc_info", (None, None, None))[1]
        if isinstance(error, WsiNecrosisError):
            self.set_status(status_of(error))
            why = str(error)
        elif status_code == HTTPStatus.NOT_FOUND:
            why = "there is nothing at this address"
        elif isinstance(error, HTTPError) and status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            why = self._reason
        else:
            why = "the viewer failed; see the terminal it was started in"
        self.finish({"error": why})

    def log_exception(self, kind: Any, error: Any, trace: Any) -> None:
        """Log what nobody raised on purpose; addresses, which may hold the token, are left out."""
        if isinstance(error, WsiNecrosisError | HTTPError):
            log.info("%s", error)
        else:
            log.error("a request failed", exc_info=(kind, error, trace))

    def _brings_token(self) -> bool:
        """Whether the address has the token, as when the page is opened; it then stands in a cookie."""
        if self.request.method != "GET" or not self.access.knows(self.get_query_argument("token", None)):
            return False
        self.set_cookie(self.access.cookie, self.access.token, httponly=True, samesite="Strict", path="/")
        return True


class NothingHandler(GuardedHandler):
    """Any other address."""

    def prepare(self) -> None:
        """Check who asks, and say that nothing is there."""
        super().prepare()
        raise HTTPError(HTTPStatus.NOT_FOUND)


def status_of(error: WsiNecrosisError) -> HTTPStatus:
    """Status of an answer to a request that ended with an error of ours."""
    if isinstance(error, GoneError):
        return HTTPStatus.GONE
    return HTTPStatus.NOT_FOUND if isinstance(error, UsageError) else HTTPStatus.CONFLICT
