"""The bill of materials of a shipped model: CycloneDX 1.6, with a component for the model, its data, its weights and each file.

Source: https://cyclonedx.org/docs/1.6/json. No time, host or serial number stands in it, so equal models give equal bills.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

RUNTIMES = ("torch", "onnx", "onnxruntime")
BILL = "bom.cdx.json"


def bill_of_materials(card: Mapping[str, Any], described: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, Any]:
    """The bill as plain JSON.

    Args:
        card: of the data.
        described: what the exported file says of itself.
        files: path in the folder -> SHA-256 of each file that ships.
    """
    url = str(card.get("source", ""))
    data: dict[str, Any] = {
        "type": "data", "bom-ref": "data", "name": str(card["name"]), "hashes": _hash(card["digest"]),
        "licenses": _licence(card["license"]),
        "externalReferences": [{"type": "website", "url": url}] if url.startswith("http") else [],
    }  # fmt: skip
    model = {
        "type": "machine-learning-model", "bom-ref": "model", "name": f"{card['name']}: {described.get('task', 'model')}",
        "licenses": _licence(card["license"]),
        "modelCard": {
            "modelParameters": {
                "task": str(described.get("task", "")), "datasets": [{"ref": "data"}],
                "inputs": [{"format": "uint8 image, NHWC"}], "outputs": [{"format": ", ".join(_columns(described))}],
            }
        },
    }  # fmt: skip
    parts: list[dict[str, Any]] = [
        {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": _hash(files[name])} for name in sorted(files)
    ]
    software = [
        {"type": "library", "bom-ref": f"pypi:{name}", "name": name, "version": known, "purl": f"pkg:pypi/{name}@{known}"}
        for name, known in ((name, _version(name)) for name in RUNTIMES) if known
    ]  # fmt: skip
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": model},
        "components": [data, *parts, *software],
        "dependencies": [{"ref": "model", "dependsOn": ["data", *(part["bom-ref"] for part in [*parts, *software])]}],
    }  # fmt: skip


def listed_files(bill: Mapping[str, Any]) -> dict[str, str]:
    """Path -> SHA-256 of every file that a bill names."""
    return {part["name"]: part["hashes"][0]["content"] for part in bill["components"] if part["type"] == "file"}


def _columns(described: Mapping[str, Any]) -> list[str]:
    output = described.get("output")
    return [str(name) for name in output["columns"]] if isinstance(output, dict) else []


def _hash(content: object) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": str(content)}]


def _licence(name: object) -> list[dict[str, Any]]:
    return [{"license": {"name": str(name)}}] if name else []


def _version(name: str) -> str:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return ""
