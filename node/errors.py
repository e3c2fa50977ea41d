"""Every error of the node, by who acts next.

NodeError
├── Refused                  the sender acts: correct the data and send again
│   ├── NotUnderstood            a data set that cannot be read as a DICOM instance
│   ├── UnknownTransaction       a Storage Commitment transaction that this node did not begin, or not with this peer
│   ├── BytesLost                a received instance is no longer in the spool
│   └── UnsuitableSeries         a series that a plugin cannot use, or that has no volume
├── Transient                nobody acts: it may work later
│   ├── TritonUnavailable        no Triton server answers, or it is overloaded
│   ├── DestinationUnavailable   a destination accepts no association, or is out of resources
│   ├── SpoolFull                free space has fallen below the mark
│   ├── SpoolAway                the folder of received instances, or a file in it, cannot be read now
│   ├── JobDied                  a job's process died or ran out of time; tried again a few times
│   ├── NodeStops                a job was given back because the node stops
│   └── LedgerUnavailable        the ledger cannot be written now
│       └── LedgerLost           its file was deleted, moved or replaced while the node ran
└── Permanent                a person acts
    ├── ConfigError              a configuration file is wrong
    ├── MixedStudy               images of one study carry two Patient IDs, or one series two names, dates or orders
    ├── ModelRefused             Triton knows the model, and refused the request
    ├── PluginFailed             a plugin raised an error
    ├── PluginGone               a job was planned for a plugin, or a version of it, that is no longer installed
    ├── BrokenResult             what a plugin returned does not fit the images it was given
    ├── LedgerRefused            the ledger can never hold such a row
    └── DestinationRefused       a destination refused an object for good
"""


class NodeError(Exception):
    """An error that the node explains in a sentence, to whoever acts next."""


class Refused(NodeError):
    """The data cannot be used as it is: the sender acts next."""


class NotUnderstood(Refused):
    """A data set that cannot be read as a DICOM instance."""


class UnknownTransaction(Refused):
    """A Storage Commitment transaction that this node did not begin, began with another peer, or knows otherwise."""


class BytesLost(Refused):
    """A received instance is no longer in the spool: it must be sent again."""


class UnsuitableSeries(Refused):
    """A series that cannot be used as asked; the message says why, and names the instance."""


class Transient(NodeError):
    """It may work later, and the node tries again: nobody needs to act."""


class TritonUnavailable(Transient):
    """No Triton server answers, or it answers that it is overloaded."""


class DestinationUnavailable(Transient):
    """A destination did not accept an association, or is out of resources."""


class SpoolFull(Transient):
    """Free space under the spool has fallen below its mark."""


class SpoolAway(Transient):
    """The folder of received instances, or a file in it, cannot be read now; nothing in it is lost."""


class JobDied(Transient):
    """The process of a job died or ran out of time; the job is tried again a few times."""


class NodeStops(Transient):
    """A job was ended because the node stops: it is given back, which costs it no attempt."""


class LedgerUnavailable(Transient):
    """The ledger cannot be written now."""


class LedgerLost(LedgerUnavailable):
    """The ledger's file is no longer the one that was opened: a person puts it back."""


class Permanent(NodeError):
    """It works only after a change: a person acts next."""


class ConfigError(Permanent):
    """A configuration file is wrong; the message names the file and the key."""


class MixedStudy(Permanent):
    """Images of one study carry two Patient IDs, or those of one series two names, dates or orders."""


class ModelRefused(Permanent):
    """Triton answered, and refused: no such model, a wrong shape or type, or the model itself raised."""


class PluginFailed(Permanent):
    """A plugin raised an error; the message names its file and line."""


class PluginGone(Permanent):
    """A job was planned for a plugin, or a version of it, that is no longer installed."""


class BrokenResult(Permanent):
    """What a plugin returned does not fit the images it was given."""


class LedgerRefused(Permanent):
    """The ledger can never hold such a row: to try again would not help."""


class DestinationRefused(Permanent):
    """A destination refused an object for good; the message explains the DIMSE status."""
