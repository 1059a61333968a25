"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client as prometheus

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SAMPLES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Measures:
    """Counters and histograms of one server.

    Parameters
    ----------
    samples_waiting : callable
        Returns how many samples wait for the model now.
    """

    content_type = prometheus.CONTENT_TYPE_LATEST

    def __init__(self, samples_waiting: Callable[[], int]) -> None:
        self._registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            "xpcnn_requests",
            "Requests by path and status of the answer; 499 where the client hung up before it.",
            ["path", "status"],
            registry=self._registry,
        )
        self._seconds = prometheus.Histogram(
            "xpcnn_request_seconds",
            "Seconds from a request's headers to its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self._batch_samples = prometheus.Histogram(
            "xpcnn_batch_samples",
            "Samples of the batches that the model was run on.",
            buckets=SAMPLES,
            registry=self._registry,
        )
        self._batch_seconds = prometheus.Histogram(
            "xpcnn_batch_seconds",
            "Seconds that the model took for a batch.",
            buckets=SECONDS,
            registry=self._registry,
        )
        waiting = prometheus.Gauge(
            "xpcnn_samples_waiting", "Samples that wait for the model.", registry=self._registry
        )
        waiting.set_function(samples_waiting)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def ran(self, samples: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_samples.observe(samples)
        self._batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return prometheus.generate_latest(self._registry)
