"""The server's figures as a table for the README, from what bench_serving*.py wrote last."""

import json
from collections.abc import Iterator
from typing import Any

from serving_peers import HOME

SWAP = {
    "requests": "requests while the alias moved {moves:.0f} times",
    "failed": "of these failed",
    "new version answers after, median s": "new version answers after a move, median s (poll 0.5 s)",
    "new version answers after, most s": "the same, most",
    "p99 at a move, times steady": "p99 beside a move, times steady",
    "memory MB, infra.serving.worker": "memory of a worker, MB",
    "memory MB, all": "memory of all processes, MB",
    "memory MB before": "memory before {requests for memory:.0f} requests, MB",
    "memory MB after": "and after them, MB",
    "cold start s, signature checked": "first answer from the cache, signature checked, s",
}
OVERLOAD = {
    "useful work at 4×, share of peak": "useful work at four times the peak, share of it",
    "recovered after, s": "recovered after, s",
}


def read(name: str) -> dict[str, Any]:
    path = HOME / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def rates(found: dict[str, Any]) -> Iterator[str]:
    yield "| work | server | requests/s | CPU µs a request | p99 ms |\n|---|---|---|---|---|"
    for title, row in found.get("figures", {}).items():
        servers = sorted(row["servers"].items(), key=lambda item: -item[1]["rate"])
        for name, one in servers:
            yield f"| {title} | {name} | {one['rate']:,.0f} | {one['cpu_us']:,.0f} | {one['p99_ms']:.1f} |"
        alone = row["onnxruntime_cpu_us_a_row"]
        yield f"| {title} | ONNX Runtime alone, a row in a batch of 1 / 64 | | {alone['1']:,.1f} / {alone['64']:,.1f} | |"


def singles(names: dict[str, str], found: dict[str, Any]) -> Iterator[str]:
    for key, title in names.items():
        if key in found:
            yield f"| {title.format(**found)} | {found[key]:,.3g} |"


def main() -> None:
    serving = read("serving")
    print("\n".join(rates(serving)), "\n\n| | |\n|---|---|")
    print("\n".join([*singles(SWAP, read("serving_swap")), *singles(OVERLOAD, read("serving_overload"))]))
    fuzz = read("serving_fuzz")
    if fuzz:
        worst = max(int(key.split()[1]) for key in fuzz if key.startswith("answered "))
        print(f"| {fuzz['mutated requests']:,} mutated requests: highest status | {worst} |")
    print(f"\n{serving.get('machine')} {serving.get('libraries')}")


if __name__ == "__main__":
    main()
