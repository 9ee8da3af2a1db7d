"""Quantisation-aware training by torchao's PT2E, tried on the benchmark's models: `python qat.py MODEL EPOCHS FOLDER` prints JSON."""

import copy
import json
import sys
import time
from pathlib import Path

import torch
from torchao.quantization.pt2e import move_exported_model_to_eval, move_exported_model_to_train
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

HERE = Path(__file__).parent


def main() -> None:
    from bench_compress import HOME

    from tasks.data.dataset import prepare, read_split
    from tasks.training.module import load_module
    from tasks.training.trainer import train
    from tasks.workloads.catalogue import load_workload

    name, epochs, target = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reference = f"{HERE / 'compress_models.py'}:{name}"
    workload = load_workload(reference)
    dataset = prepare(reference, workload.data, HOME / "compress" / name / "data")
    checkpoint = train(reference, dataset, workload.train, HOME / "compress" / name / "train")
    teacher = load_module(workload, dataset, checkpoint)
    rows = read_split(dataset, "train")
    inputs = {key: torch.tensor(array) for key, array in rows.inputs.items()}
    labels = torch.tensor(rows.target)
    example = {key: value[:32] for key, value in inputs.items()}
    axes = {key: {0: torch.export.Dim("batch", min=1, max=4096)} for key in inputs}
    started = time.perf_counter()
    exported = torch.export.export(
        copy.deepcopy(teacher).train(), (), example, dynamic_shapes=axes, strict=False
    ).module()
    quantizer = X86InductorQuantizer()
    quantizer.set_global(get_default_x86_inductor_quantization_config(is_qat=True))
    module = prepare_qat_pt2e(exported, quantizer)
    optimizer = torch.optim.AdamW(module.parameters(), 2e-4)
    for _ in range(epochs):
        move_exported_model_to_train(module)
        for index in torch.randperm(len(labels)).split(64):
            batch = {key: value[index] for key, value in inputs.items()}
            with torch.inference_mode():
                taught = teacher(**batch)
            outputs = module(**batch)
            loss = 0.3 * torch.nn.functional.cross_entropy(
                outputs, labels[index]
            ) + 0.7 * torch.nn.functional.kl_div(
                outputs.log_softmax(-1),
                taught.clone().log_softmax(-1),
                log_target=True,
                reduction="batchmean",
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    move_exported_model_to_eval(module)
    converted = convert_pt2e(module)
    move_exported_model_to_eval(converted)
    torch.onnx.export(
        converted,
        (),
        str(target),
        kwargs=example,
        dynamo=True,
        external_data=False,
        dynamic_shapes=axes,
        verbose=False,
    )
    print(json.dumps({"path": str(target), "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
