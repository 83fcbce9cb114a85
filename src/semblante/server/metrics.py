"""Counters for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client as prometheus


class Metrics:
    """The counters shown at /metrics. They contain no picture, no face and no address."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()

        def counted(name: str, what: str, *by: str) -> prometheus.Counter:
            return prometheus.Counter(f"semblante_{name}", what, by, registry=self.registry)

        self._pictures = counted("pictures", "pictures: read, or failed", "result")
        self._faces = counted("faces", "faces found in pictures to be analysed")
        self._frames = counted("frames", "frames of live streams: read, or failed", "result")
        self._videos = counted("videos", "videos that ended: done, failed, or cancelled", "result")
        self._refused = counted("refused", "requests refused or failed", "status")
        self._under_way = prometheus.Gauge(
            "semblante_under_way",
            "pictures and videos being analysed or waiting",
            ["kind"],
            registry=self.registry,
        )
        for counter, results in (
            (self._pictures, ("read", "failed")),
            (self._frames, ("read", "failed")),
            (self._videos, ("done", "failed", "cancelled")),
        ):
            for result in results:  # so that each is shown from the start, as 0
                counter.labels(result)

    def watch(self, kind: str, count: Callable[[], int]) -> None:
        """Show as under way, for this `kind`, the number that `count` returns."""
        self._under_way.labels(kind).set_function(count)

    def count_picture(self, *, read: bool, faces: int = 0) -> None:
        """Count a picture, and the faces found in it."""
        self._pictures.labels("read" if read else "failed").inc()
        self._faces.inc(faces)

    def count_frame(self, read: bool) -> None:
        """Count a frame of a live stream that was answered."""
        self._frames.labels("read" if read else "failed").inc()

    def count_video(self, state: str) -> None:
        """Count a video whose job ended in this state."""
        self._videos.labels(state).inc()

    def count_refused(self, status: int) -> None:
        """Count a request that was refused, or failed, with this status."""
        self._refused.labels(str(status)).inc()
