from wsi_necrosis.inference.stats import ScoringStats, WorkerStats, perf_of

DAY = "2026-11-29"


def test_waiting_is_the_time_of_workers_outside_all_stages() -> None:
    seconds = {"open": 0.5, "score": 10.0}
    perf = perf_of(
        seconds, ScoringStats(100, 120, WorkerStats({"read": 6.0, "network": 12.0}, 150, 120), 2), DAY
    )
    assert perf["worker_seconds"] == {"read": 6.0, "network": 12.0, "waiting": 2.0}
    assert perf["tiles_per_second"] == 10
    assert perf["tiles_per_worker_second"] == {"read": 16.67, "network": 8.33}
    assert perf["tiles_kept"] == 20
    assert perf["decoded_over_needed"] == 1.25
    assert perf["seconds"] == seconds
    assert perf["peak_memory_mb"] > 0
    by_processes = perf_of(
        seconds, ScoringStats(100, 120, WorkerStats(), 2, {"one": 10_000, "two": 20_000}), DAY
    )
    assert by_processes["peak_memory_mb"] >= 30_000 + perf["peak_memory_mb"]


def test_a_run_that_scored_nothing_has_no_rates() -> None:
    perf = perf_of({"score": 0.0}, ScoringStats(0, 5, WorkerStats(), 2), DAY)
    assert perf["tiles_per_second"] is None
    assert perf["decoded_over_needed"] is None
    assert perf["worker_seconds"] == {"waiting": 0.0}
