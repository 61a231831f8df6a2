"""Label Studio: tasks with predictions to import, its labelling configuration, and the two JSON exports to read back.

Formats: https://labelstud.io/guide/predictions.html, https://labelstud.io/guide/export.html (JSON and JSON-MIN).
"""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

from pipeline.core.errors import PersonError
from pipeline.labelling.annotation import Answer, Proposal, Review, clean, text_of

CONTROL, IMAGE, PATH = "class", "image", "path"


def configuration(classes: Sequence[str]) -> str:
    """The labelling interface: the image and one choice among the classes, with number keys for the first nine."""
    keys = [f' hotkey="{number}"' if number <= 9 else "" for number in range(1, len(classes) + 1)]
    choices = "".join(f"    <Choice value={quoteattr(name)}{key}/>\n" for name, key in zip(classes, keys, strict=True))
    return (
        f'<View>\n  <Image name="{IMAGE}" value="${IMAGE}" zoom="true"/>\n'
        f'  <Choices name="{CONTROL}" toName="{IMAGE}" choice="single" required="true" showInline="true">\n'
        f"{choices}  </Choices>\n</View>\n"
    )


def tasks(proposals: Sequence[Proposal], *, url: str, model: str) -> str:
    """Tasks in the order of the queue, with the model's class as a prediction.

    Args:
        proposals: the queue.
        url: what stands before each image's quoted path, for example `/data/local-files/?d=photos/`.
        model: version of the model, shown beside its predictions.
    """
    made = []
    for rank, one in enumerate(proposals, start=1):
        result = {
            "id": f"r{rank}", "from_name": CONTROL, "to_name": IMAGE, "type": "choices", "value": {"choices": [one.label]},
            "original_height": one.height, "original_width": one.width, "image_rotation": 0,
            "score": round(one.probabilities[one.label], 6),
        }  # fmt: skip
        prediction = {"model_version": model, "score": round(one.probabilities[one.label], 6), "result": [result]}
        data: dict[str, Any] = {IMAGE: url + quote(one.path), PATH: one.path, "rank": rank, "doubt": round(one.doubt, 6)}
        if one.twins:
            data["stands_for"] = list(one.twins)
        made.append({"data": data, "predictions": [prediction]})
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read(data: bytes, *, what: str) -> Review:
    """Read a JSON or JSON-MIN export; a task without an annotation of a person counts as unanswered.

    Raises:
        PersonError: it is not such an export; the message names the task.
    """
    try:
        found = json.loads(text_of(data, what=what))
    except (json.JSONDecodeError, RecursionError) as error:
        raise PersonError(
            f"{what} is not JSON that can be read ({' '.join(str(error).split())[:120]}): export it again"
        ) from error
    if not isinstance(found, list) or not all(isinstance(task, dict) for task in found):
        raise PersonError(f"{what} is not a Label Studio export: expected a list of tasks, received {type(found).__name__}")
    review = Review()
    for number, task in enumerate(found, start=1):
        where = f"{what} task {task.get('id', number)}"
        before = len(review.answers)
        if "annotations" in task or "data" in task:
            _full(task, review, where=where)
        else:
            _short(task, review, where=where)
        review.unanswered += len(review.answers) == before
    return review


def _full(task: dict[str, Any], review: Review, *, where: str) -> None:
    """A task of the JSON export: `data`, and `annotations` with a `result` each."""
    path = _path(task.get("data"), where=where)
    for annotation in _list(task.get("annotations"), where=where):
        if annotation.get("was_cancelled"):
            continue
        for region in _list(annotation.get("result"), where=where):
            if region.get("from_name") == CONTROL and region.get("type") == "choices":
                value = region.get("value")
                label = _one(value.get("choices") if isinstance(value, dict) else None, where=where)
                review.answers.append(Answer(path, label, _person(annotation.get("completed_by"))))


def _short(task: dict[str, Any], review: Review, *, where: str) -> None:
    """A task of the JSON-MIN export: data and answers side by side."""
    answer = task.get(CONTROL)
    if answer is not None:
        value = answer.get("choices") if isinstance(answer, dict) else answer
        review.answers.append(Answer(_path(task, where=where), _one(value, where=where), _person(task.get("annotator"))))


def _path(data: object, *, where: str) -> str:
    """The path that the queue gave, or the one in the image's address."""
    if isinstance(data, dict):
        if isinstance(data.get(PATH), str):
            return str(data[PATH])
        if isinstance(data.get(IMAGE), str):
            return _from_address(data[IMAGE])
    raise PersonError(f"{where} has neither a path nor an image in its data: it was not made of this project's queue")


def _from_address(address: str) -> str:
    """`/data/local-files/?d=photos/a%20b.png` -> `a b.png`; the first folder is the one that the queue was made of."""
    parts = urlsplit(address)
    local = parse_qs(parts.query, keep_blank_values=True).get("d")
    return local[0].partition("/")[2] if local else unquote(parts.path.rsplit("/", 1)[-1])


def _list(value: object, *, where: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise PersonError(f"{where}: expected a list of objects, received {str(value)[:60]!r}")
    return value


def _one(value: object, *, where: str) -> str:
    """The one class that was chosen."""
    chosen = value if isinstance(value, list) else [value]
    if len(chosen) != 1 or not isinstance(chosen[0], str):
        raise PersonError(f"{where}: expected one class, received {str(value)[:80]!r}")
    return chosen[0]


def _person(value: object) -> str:
    """Who annotated: a number, or an object with an email or an id."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id") or ""
    return "" if value is None else clean(str(value))
