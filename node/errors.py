"""Every error of the node, told apart by who acts next.

NodeError
├── Refused                  the sender acts: correct the data and send again
│   ├── NotUnderstood            a data set that cannot be read as a DICOM instance
│   ├── UnknownTransaction       a Storage Commitment transaction that this node, or this peer, has no part in
│   ├── BytesLost                an instance was here, and its bytes are gone from the spool
│   └── UnsuitableSeries         a series that a plugin or a volume cannot be made of
├── Transient                the clock acts: the same thing may work later
│   ├── TritonUnavailable        no Triton server answers, or it is overloaded
│   ├── DestinationUnavailable   a destination accepts no association, or is out of resources
│   ├── SpoolFull                free space has fallen below the mark
│   ├── SpoolAway                the folder of received instances, or a file in it, cannot be read just now
│   ├── JobDied                  a job's process died or ran out of time; tried again a few times
│   ├── NodeStops                a job was given back, since the node stops
│   └── LedgerUnavailable        the ledger cannot be written just now
└── Permanent                a person acts
    ├── ConfigError              a file that people write says something impossible
    ├── ModelRefused             Triton knows the model, and refused the request
    ├── PluginFailed             a plugin raised an error of its own
    ├── PluginGone               a job was planned for a plugin, or a version of it, that is no longer here
    ├── BrokenResult             what a plugin returned does not fit the images it was given
    ├── LedgerRefused            the ledger can never hold such a row
    └── DestinationRefused       a destination refused an object for good
"""


class NodeError(Exception):
    """Something the node can say in one sentence to whoever must act."""


class Refused(NodeError):
    """The data cannot be used as it is: the sender acts next."""


class NotUnderstood(Refused):
    """A data set that cannot be read as a DICOM instance."""


class UnknownTransaction(Refused):
    """A Storage Commitment transaction that this node never began, began with another peer, or has otherwise."""


class BytesLost(Refused):
    """An instance was received, and its bytes are no longer in the spool: it must be sent again."""


class UnsuitableSeries(Refused):
    """A series that the asked-for thing cannot be made of; the message says why, and names the instance."""


class Transient(NodeError):
    """It may work later: the clock acts next."""


class TritonUnavailable(Transient):
    """No Triton server answers, or it answers that it is overloaded."""


class DestinationUnavailable(Transient):
    """A destination did not accept an association, or is out of resources."""


class SpoolFull(Transient):
    """Free space under the spool has fallen below its mark."""


class SpoolAway(Transient):
    """The folder of received instances is away, or a file in it cannot be opened: nothing in it is lost for that."""


class JobDied(Transient):
    """The process of a job died or ran out of time; that may be chance, so it is tried again a few times."""


class NodeStops(Transient):
    """A job was ended because the node stops: it is given back as it was."""


class LedgerUnavailable(Transient):
    """The ledger cannot be written just now."""


class Permanent(NodeError):
    """It will not work until somebody changes something: a person acts next."""


class ConfigError(Permanent):
    """A file that people write says something impossible; the message names the file and the key."""


class ModelRefused(Permanent):
    """Triton answered, and refused: no such model, a wrong shape or type, or the model itself raised."""


class PluginFailed(Permanent):
    """A plugin raised an error of its own."""


class PluginGone(Permanent):
    """A job was planned for a plugin, or a version of it, that is no longer here."""


class BrokenResult(Permanent):
    """What a plugin returned does not fit the images it was given."""


class LedgerRefused(Permanent):
    """The ledger can never hold such a row: trying again would not help."""


class DestinationRefused(Permanent):
    """A destination refused an object for good; the message gives the status in words."""
