"""The servers of one run: what is known of each when the run meets it, and kept when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from livepost.clock import Clock
from livepost.config import LivenessOptions
from livepost.net.knowledge import KeepAlive, Knowledge
from livepost.net.liveness import Liveness
from livepost.net.origin import Origin
from livepost.net.origin_memory import OriginMemory, cache_directory
from livepost.net.suspend import SuspendWatch
from livepost.wire.message import RequestHead


class Acquaintances:
    """Loads what is remembered of a server, unless the user does not want it, and stores what was learned.

    `clock` stands still while the machine sleeps, `running` does not (`suspend.running_clock`), and
    `wall_clock` gives seconds since 1970.  `environment` says where the cache directory is.
    """

    def __init__(
        self,
        options: LivenessOptions,
        *,
        clock: Clock,
        running: Clock,
        wall_clock: Callable[[], float],
        environment: Mapping[str, str],
    ) -> None:
        self._options = options
        self._clock = clock
        self._running = running
        self._wall_clock = wall_clock
        self.problems: list[str] = []
        """What went wrong with the memory, a sentence each, for a person to see."""
        directory = None if options.no_memory else cache_directory(environment)
        self._memory = None
        if directory is not None:
            self._memory = OriginMemory(directory, wall_clock, self.problems.append)
        self._met: dict[Origin, Liveness] = {}

    def meet(
        self, origin: Origin, *, is_safe_to_repeat: bool, keepalive_head: RequestHead | None = None
    ) -> Knowledge:
        """What a pool of connections to this server is to know.

        `keepalive_head` is the safe request that the user allows, of a path of this server.
        """
        options = self._options
        if origin not in self._met:
            remembered = {} if self._memory is None else self._memory.load(origin)
            self._met[origin] = Liveness(
                self._wall_clock, remembered, max_connection_age=options.max_connection_age
            )
        keepalive = None
        if keepalive_head is not None:
            keepalive = KeepAlive(
                keepalive_head, options.keepalive_every is not None, options.heartbeat_seconds
            )
        watch = SuspendWatch(self._clock(), self._running())
        return Knowledge(
            self._met[origin],
            is_safe_to_repeat,
            keepalive,
            lambda: watch.slept(self._clock(), self._running()),
        )

    def store(self) -> None:
        """Keep what was learned for later runs."""
        if self._memory is not None:
            for origin, liveness in self._met.items():
                self._memory.store(origin, liveness.facts)
