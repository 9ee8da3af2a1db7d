"""Run inside a peer's own environment: `python compress_peers.py {nncf,olive} MODEL.onnx ROWS.npz FOLDER` quantises and prints JSON.

Prints {"method": {"path": …, "seconds": …} or {"error": …}} as its last line. Uses what each tool recommends for ONNX models on a CPU.
"""

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

Made = Callable[[Path, Path, dict[str, np.ndarray], bool], None]


def nncf_static(model: Path, target: Path, rows: dict[str, np.ndarray], attention: bool) -> None:
    import nncf
    import onnx

    batches = [{name: array[i : i + 1] for name, array in rows.items()} for i in range(300)]
    kind = nncf.ModelType.TRANSFORMER if attention else None
    quantised = nncf.quantize(onnx.load(model), nncf.Dataset(batches), model_type=kind)
    onnx.save(quantised, target)


def nncf_weights(model: Path, target: Path, rows: dict[str, np.ndarray], attention: bool) -> None:
    import nncf
    import onnx

    onnx.save(nncf.compress_weights(onnx.load(model), mode=nncf.CompressWeightsMode.INT8_ASYM), target)


def olive_static(model: Path, target: Path, rows: dict[str, np.ndarray], attention: bool) -> None:
    _olive(
        model,
        target,
        rows,
        {"type": "OnnxStaticQuantization", "quant_format": "QDQ", "data_config": "calibration"},
    )


def olive_dynamic(model: Path, target: Path, rows: dict[str, np.ndarray], attention: bool) -> None:
    _olive(model, target, rows, {"type": "OnnxDynamicQuantization"})


def _olive(model: Path, target: Path, rows: dict[str, np.ndarray], step: dict[str, object]) -> None:
    from olive.workflows import run

    script = target.with_suffix(".py")
    np.savez(target.with_suffix(".npz"), **rows)
    script.write_text(_OLIVE_DATA.format(path=str(target.with_suffix(".npz"))))
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(model)},
        "systems": {
            "here": {
                "type": "LocalSystem",
                "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}],
            }
        },
        "target": "here",
        "data_configs": [
            {
                "name": "calibration",
                "user_script": str(script),
                "load_dataset_config": {"type": "rows_dataset"},
                "dataloader_config": {"type": "rows_loader"},
            }
        ],
        "passes": {"quantize": step},
        "output_dir": str(target.parent / f"{target.stem}-olive"),
        "cache_dir": str(target.parent / f"{target.stem}-cache"),
        "no_artifacts": False,
    }
    config.pop("no_artifacts")
    run(config)
    found = sorted((target.parent / f"{target.stem}-olive").rglob("*.onnx"))
    shutil.copyfile(found[0], target)


_OLIVE_DATA = """
import numpy as np
from olive.data.registry import Registry

class Rows:
    def __init__(self):
        self.rows = dict(np.load({path!r}))
    def __len__(self):
        return 300
    def __getitem__(self, index):
        return {{name: array[index] for name, array in self.rows.items()}}, 0

@Registry.register_dataset()
def rows_dataset(**kwargs):
    return Rows()

@Registry.register_dataloader()
def rows_loader(dataset, **kwargs):
    return [({{name: value[None] for name, value in dataset[i][0].items()}}, 0) for i in range(len(dataset))]
"""

METHODS: dict[str, dict[str, Made]] = {
    "nncf": {"NNCF static": nncf_static, "NNCF weights": nncf_weights},
    "olive": {"Olive static": olive_static, "Olive dynamic": olive_dynamic},
}


def main() -> None:
    tool, model, rows_path, folder, attention = (
        sys.argv[1],
        *map(Path, sys.argv[2:5]),
        sys.argv[5] == "attention",
    )
    os.environ.update(OLIVE_DISABLE_TELEMETRY="1", DO_NOT_TRACK="1", NNCF_TELEMETRY="0")
    rows = dict(np.load(rows_path))
    results: dict[str, dict[str, object]] = {}
    for name, method in METHODS[tool].items():
        target = folder / f"{name.lower().replace(' ', '-')}.onnx"
        started = time.perf_counter()
        try:
            method(model, target, rows, attention)
            results[name] = {"path": str(target), "seconds": time.perf_counter() - started}
        except Exception as error:
            traceback.print_exc()
            results[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:160]}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
