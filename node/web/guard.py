"""What stands before each request: whom it was sent to, and what a browser may do with the answer."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.web_settings import LOCAL_HOSTS

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""The page has no script at all, so the policy allows none."""


class Guard:
    """Refuses a request whose Host is not this machine, and adds `HEADERS` to each answer.

    A foreign site can give its own name the address 127.0.0.1, and would then read the page as its own (DNS
    rebinding). The Host of such a request is still the foreign name.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        host = Headers(scope=scope).get("host", "")
        if host.rpartition(":")[0] in LOCAL_HOSTS or host in LOCAL_HOSTS:
            await self._app(scope, receive, guarded)
        else:
            refusal = PlainTextResponse(f"this page answers on {', '.join(LOCAL_HOSTS)} only\n", 421)
            await refusal(scope, receive, guarded)
