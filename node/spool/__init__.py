"""The files of the node: packs of received instances, and composed objects; decoded values beside them.

`node.spool.pack` writes packs, `node.spool.recovery` reads their records back, `node.spool.spool` is the folder of
both packs and objects. `node.images.decoded` keeps the decoded values.
"""

from node.spool.files import Buffer
from node.spool.pack import Pack
from node.spool.spool import IDLE_SECONDS, PACK_LIMIT, Spool, writer

__all__ = ["IDLE_SECONDS", "PACK_LIMIT", "Buffer", "Pack", "Spool", "writer"]
