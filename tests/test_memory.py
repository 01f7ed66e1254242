import os
import resource
import subprocess
import sys

from wsi_necrosis.memory import ENVIRONMENT, peak_memory_mb

# Threads that allocate and free blocks as large as activations: where one heap keeps them, each page page_faults once.
CHURN = """
import resource, sys, threading
if sys.argv[1] == "kept":
    from wsi_necrosis.memory import keep_freed_memory
    keep_freed_memory()
def work():
    for _ in range(20):
        bytearray(b'x') * (48 << 20)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def page_faults(how: str) -> int:
    plain = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    command = [sys.executable, "-c", CHURN, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
    return int(done.stdout)


def test_freed_memory_is_kept_by_threads() -> None:
    if not sys.platform.startswith("linux"):
        return
    assert page_faults("kept") < page_faults("as it comes") / 2


def test_peak_memory_is_in_mib() -> None:
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert peak_memory_mb() >= kib // 1024 > 10


def test_the_environment_has_the_same_settings_of_glibc() -> None:
    assert set(ENVIRONMENT) == {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX"}
