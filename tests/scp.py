"""An SCP of pynetdicom's own, for tests in which the node is the SCU."""

import threading
from collections.abc import Sequence

from pynetdicom import AE, evt
from pynetdicom.transport import ThreadedAssociationServer

POLL_SECONDS = 0.02
"""How often the server looks whether it is shut down; `AE.start_server` looks twice a second."""


def start_scp(entity: AE, handlers: Sequence[evt.EventHandlerType], *, port: int = 0) -> int:
    """Serve on a port of this machine, any free one without `port`, and return it; `entity.shutdown()` ends it."""
    server = entity.make_server(
        ("127.0.0.1", port), evt_handlers=list(handlers), server_class=ThreadedAssociationServer
    )
    entity._servers.append(server)
    thread = threading.Thread(
        target=server.serve_forever, args=(POLL_SECONDS,), name=f"AcceptorServer {entity.ae_title}", daemon=True
    )
    thread.start()
    return int(server.server_address[1])
