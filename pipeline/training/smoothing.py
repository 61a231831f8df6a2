"""Label smoothing as part of a recipe: the loss that is trained spreads a share of each target over all classes.

Source: C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv 1512.00567, section 7.
Validation and evaluation keep the task of conf/task.
"""

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import PersonError
from pipeline.core.parts import build


def trained_task(task: Any, node: Mapping[str, Any], recipe: Mapping[str, Any]) -> Any:
    """The task whose losses are trained.

    Args:
        task: as conf/task builds it.
        node: that part of the configuration.
        recipe: `label_smoothing` of conf/train, in [0, 1); 0 leaves the task as it is.

    Raises:
        PersonError: the task has no classes to spread a target over, or smooths already.
    """
    share = recipe.get("label_smoothing", 0.0)
    if not share:
        return task
    if "label_smoothing" not in node:
        raise PersonError(
            f"train.label_smoothing={share:g} spreads a target over the classes, and task={task.name} has none: "
            "set  train.label_smoothing=0"
        )
    if node["label_smoothing"]:
        raise PersonError(
            f"both task.label_smoothing={node['label_smoothing']:g} and train.label_smoothing={share:g} are set: "
            "keep one and set the other to 0"
        )
    return build({**node, "label_smoothing": share}, card=task.card)
