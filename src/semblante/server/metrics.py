"""Counters for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client as prometheus


class Metrics:
    """What /metrics tells. No picture, no face, no address."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()

        def counted(name: str, what: str, *by: str) -> prometheus.Counter:
            return prometheus.Counter(f"semblante_{name}", what, by, registry=self.registry)

        self._pictures = counted("pictures", "pictures: read, or failed", "result")
        self._faces = counted("faces", "faces found in pictures to be analysed")
        self._frames = counted("frames", "frames of live streams: read, or failed", "result")
        self._videos = counted("videos", "videos that ended: done, failed, or cancelled", "result")
        self._refused = counted("refused", "requests refused", "status")
        self._under_way = prometheus.Gauge(
            "semblante_under_way", "in work or waiting", ["kind"], registry=self.registry
        )
        for counter, results in (
            (self._pictures, ("read", "failed")),
            (self._frames, ("read", "failed")),
            (self._videos, ("done", "failed", "cancelled")),
        ):
            for result in results:  # from 0 on
                counter.labels(result)

    def watch(self, kind: str, count: Callable[[], int]) -> None:
        """Let `count` say how many of this kind are under way."""
        self._under_way.labels(kind).set_function(count)

    def count_picture(self, *, read: bool, faces: int = 0) -> None:
        """One more, and the faces found in it."""
        self._pictures.labels("read" if read else "failed").inc()
        self._faces.inc(faces)

    def count_frame(self, read: bool) -> None:
        """One more that was answered."""
        self._frames.labels("read" if read else "failed").inc()

    def count_video(self, state: str) -> None:
        """One more that ended, in this state."""
        self._videos.labels(state).inc()

    def count_refused(self, status: int) -> None:
        """One more request that was answered with this status."""
        self._refused.labels(str(status)).inc()
