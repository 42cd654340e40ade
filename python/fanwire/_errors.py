"""One tree of exceptions. Wrong types and values of arguments are TypeError and ValueError, as everywhere in Python."""


class Error(Exception):
    """Whatever fanwire raises."""

    __module__ = "fanwire"

    published: int
    """After `publish_many`: how many messages were published before the one that this is about."""


class WouldBlock(Error):
    """No room now: the slowest shard is a whole ring behind, or the payload memory is in use. Nothing was done: try again
    later, or wait with `timeout=`."""

    __module__ = "fanwire"


class TooLarge(Error, ValueError):
    """The message is larger than `message_bytes_max`."""

    __module__ = "fanwire"


class NotUtf8(Error, ValueError):
    """A text or JSON message that is not UTF-8."""

    __module__ = "fanwire"


class BadName(Error, ValueError):
    """Not a topic name."""

    __module__ = "fanwire"


class TooMany(Error):
    """A limit on the number of things is reached; the text says which."""

    __module__ = "fanwire"


class Removed(Error):
    """The topic was removed."""

    __module__ = "fanwire"


class Gone(Error):
    """No such connection was ever made by this engine."""

    __module__ = "fanwire"


class Stopped(Error):
    """The engine has stopped."""

    __module__ = "fanwire"


class Busy(Error):
    """Somebody else is waiting for this engine's events now."""

    __module__ = "fanwire"


class ClaimError(Error, ValueError):
    """The claim was committed or given back before."""

    __module__ = "fanwire"


class ForkedError(Error, RuntimeError):
    """This belongs to the process that forked this one: start an engine of its own here."""

    __module__ = "fanwire"


class InternalError(Error, RuntimeError):
    """A bug in fanwire. The process is unharmed; stop the engine."""

    __module__ = "fanwire"


class StartError(Error):
    """The engine could not be started: the system refused something."""

    __module__ = "fanwire"


class ConfigError(StartError, ValueError):
    """The settings cannot be used; the text says why, a line for each reason."""

    __module__ = "fanwire"


class UringUnavailable(StartError):
    """io_uring was asked for and is not to be had; the text names the cause and the fix."""

    __module__ = "fanwire"


class ListenError(StartError):
    """An address cannot be listened on."""

    __module__ = "fanwire"
