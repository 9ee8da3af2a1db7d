"""The server's figures as a table for the README, from what bench_serving*.py wrote last."""

import json
from collections.abc import Iterator
from typing import Any

from bench_serving import paired
from serving_peers import HOME

PEERS = {
    "mlflow": "`mlflow models serve`",
    "fastapi": "FastAPI + orjson",
    "litserve": "LitServe",
    "bentoml": "BentoML",
    "nothing": "an ASGI app that does nothing",
}

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
    """Ours, and how many times as much CPU a request costs the others: medians of ratios within a round."""
    yield f"| work | requests/s | CPU µs a request | p99 ms | CPU a request: {' | '.join(PEERS.values())} | bare ONNX Runtime on the same rows, in batches of 1 and of 64 |"
    yield "|---" * (5 + len(PEERS)) + "|"
    for title, row in found.get("figures", {}).items():
        ours, turns = row["servers"]["slipway"], row["turns"]
        own = [turn["cpu_us"] for turn in turns["slipway"]]
        times = [paired([turn["cpu_us"] for turn in turns.get(name, [])], own) for name in PEERS]
        bare = " and ".join(
            f"{row['rows'] * paired(row['onnxruntime_turns'][size], own):.2f}×" for size in ("1", "64")
        )
        cells = [f"{ours['rate']:,.0f}", f"{ours['cpu_us']:,.0f}", f"{ours['p99_ms']:.1f}"]
        yield f"| {title} | {' | '.join([*cells, *(f'{value:.1f}×' if value else '' for value in times), bare])} |"


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
