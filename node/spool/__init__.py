from node.spool.spool import HEAD, IDLE_SECONDS, MAGIC, PACK_LIMIT, Buffer, Pack, Spool, next_magic, recover, writer

__all__ = ["HEAD", "IDLE_SECONDS", "MAGIC", "PACK_LIMIT", "Buffer", "Pack", "Spool", "next_magic", "recover", "writer"]
