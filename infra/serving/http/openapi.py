"""Our own OpenAPI document, made from the models that are served: what a client, or a fuzzer, may send."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson

from infra.serving.models.version import LoadedVersion
from infra.serving.wire.tensors import Tensor

BASE = Path(__file__).with_name("openapi.json")
"""What does not depend on the models."""


def document(served: dict[str, LoadedVersion | None]) -> dict[str, Any]:
    """OpenAPI 3.1 for every route."""
    made: dict[str, Any] = orjson.loads(BASE.read_bytes())
    for name, loaded in served.items():
        if loaded is None:
            continue
        made["paths"] |= {
            f"/models/{name}/invocations": {
                "post": operation(
                    f"{name}_invocations",
                    invocations(loaded),
                    predicted(loaded),
                    loaded.invocations.taking.bodies,
                )
            },
            f"/v2/models/{name}/infer": {
                "post": operation(f"{name}_infer", inference(loaded), {"type": "object"})
            },
            f"/v2/models/{name}/labels": {"post": labels(name)},
            f"/v2/models/{name}": {
                "get": {"operationId": f"{name}_metadata", "responses": answers({"type": "object"}, 401, 503)}
            },
        }
    return made


def operation(
    name: str, body: dict[str, Any], answer: dict[str, Any], values: Collection[str] = ()
) -> dict[str, Any]:
    """`values`: the content types of bodies that are one value as they are."""
    content: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in values}
    return {
        "operationId": name,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}, **content}},
        "responses": answers(answer, 400, 401, 413, 415, 422, 429, 503),
    }


def answers(schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    wrong = {str(status): {"$ref": "#/components/responses/Error"} for status in errors}
    return {"200": {"description": "the answer", "content": content}, **wrong}


def labels(name: str) -> dict[str, Any]:
    label = {
        "type": "object",
        "required": ["id", "label"],
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[ -~]*$"},
            "row": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
            "label": {"type": ["string", "number"], "minLength": 1, "maxLength": 1000},
            "at": {"type": "string", "format": "date-time"},
        },
    }
    body = named({"labels": {"type": "array", "items": label, "minItems": 1, "maxItems": 10_000}})
    made = operation(f"{name}_labels", body, {"type": "object"})
    made["responses"]["202"] = made["responses"].pop("200")
    return made


def nested(tensor: Tensor, sizes: tuple[int, ...]) -> dict[str, Any]:
    """A tensor as nested arrays."""
    if not sizes:
        return {"type": {"d": "number", "i": "integer", "?": "boolean", "s": "string"}[tensor.wire]}
    bounds = (
        {"minItems": 1, "maxItems": 8} if sizes[0] == -1 else {"minItems": sizes[0], "maxItems": sizes[0]}
    )
    return {"type": "array", "items": nested(tensor, sizes[1:]), **bounds}


def named(fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(fields), "properties": fields, "additionalProperties": False}


def invocations(loaded: LoadedVersion) -> dict[str, Any]:
    columns = named({tensor.name: nested(tensor, tensor.shape) for tensor in loaded.spec.inputs})
    row = named({tensor.name: nested(tensor, tensor.tail) for tensor in loaded.spec.inputs})
    rows = {"type": "array", "items": row, "minItems": 1}
    split = named(
        {
            "columns": {"const": [tensor.name for tensor in loaded.spec.inputs]},
            "data": {"type": "array", "items": {"type": "array"}},
        }
    )
    forms = {"inputs": columns, "instances": rows, "dataframe_records": rows, "dataframe_split": split}
    return {"oneOf": [named({form: schema}) for form, schema in forms.items()]}


def predicted(loaded: LoadedVersion) -> dict[str, Any]:
    """Outputs by name; a number that is not finite is null."""
    return named(
        {"predictions": {"type": "object", "required": [tensor.name for tensor in loaded.spec.outputs]}}
    )


def inference(loaded: LoadedVersion) -> dict[str, Any]:
    tensor = named(
        {
            "name": {"enum": [each.name for each in loaded.spec.inputs]},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "datatype": {"enum": [each.datatype for each in loaded.spec.inputs]},
            "data": {"type": "array"},
        }
    )
    count = len(loaded.spec.inputs)
    inputs = {"type": "array", "items": tensor, "minItems": count, "maxItems": count}
    model = {"const": loaded.release.model}
    return named({"id": {"type": "string"}, "model_name": model, "inputs": inputs}) | {"required": ["inputs"]}
