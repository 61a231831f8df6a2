"""CVAT: annotations to upload and the labels of its task, in "CVAT for images 1.1", and the same format to read back.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/. CVAT keeps the tags that were uploaded whether or not a
person looked at them, marks them as coming from a file, and marks as manual or half automatic what a person has changed. So the
label has a check box `reviewed`, off in what we write; a tag counts as an answer where it is on, or where a person changed
the tag.
"""

import json
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from pipeline.core.errors import PersonError
from pipeline.labelling.annotation import Answer, Proposal, Review
from pipeline.source.safe_xml import Element, read_xml

REVIEWED = "reviewed"
BY_HAND = ("manual", "semi-auto")  # sources of a tag that a person made or changed


def labels(classes: Sequence[str]) -> str:
    """What to paste into "Raw" of a new task's labels: each class as a tag with the check box `reviewed`."""
    box = {"name": REVIEWED, "mutable": True, "input_type": "checkbox", "default_value": "false", "values": ["false"]}
    made = [{"name": name, "type": "tag", "attributes": [box]} for name in classes]
    return json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def annotations(proposals: Sequence[Proposal], classes: Sequence[str]) -> str:
    """The XML to upload as annotations of a task that holds these images under these names."""
    attribute = (
        f"<attribute><name>{REVIEWED}</name><mutable>True</mutable><input_type>checkbox</input_type>"
        "<default_value>false</default_value><values>false</values></attribute>"
    )
    named = "".join(
        f"      <label><name>{escape(name)}</name><type>tag</type><attributes>{attribute}</attributes></label>\n"
        for name in classes
    )
    images = "".join(
        f"  <image id={quoteattr(str(number))} name={quoteattr(one.path)} width={quoteattr(str(one.width))} "
        f'height={quoteattr(str(one.height))}>\n    <tag label={quoteattr(one.label)} source="auto">\n'
        f'      <attribute name="{REVIEWED}">false</attribute>\n    </tag>\n  </image>\n'
        for number, one in enumerate(proposals)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
        f"      <size>{len(proposals)}</size>\n      <mode>annotation</mode>\n      <labels>\n{named}      </labels>\n"
        f"    </task>\n  </meta>\n{images}</annotations>\n"
    )


def read(data: bytes, *, what: str) -> Review:
    """Read "CVAT for images 1.1"; an image without a reviewed tag counts as unanswered.

    Raises:
        PersonError: it is not such an export, or an image has two reviewed tags; the message names it.
    """
    root = read_xml(data, what=what)
    version = [child.text.strip() for child in root.all("version")]
    if root.name != "annotations" or version != ["1.1"]:
        raise PersonError(f"{what} is not CVAT for images 1.1: expected <annotations> of version 1.1, received <{root.name}> of "
                          f"version {', '.join(version) or 'none'}; export with that format")  # fmt: skip
    review = Review()
    reviewer = _assignee(root)
    for image in root.all("image"):
        if "name" not in image.attributes:
            raise PersonError(f"{what} line {image.line}: an image without a name")
        found = [tag.attributes.get("label", "") for tag in image.all("tag") if _is_reviewed(tag)]
        if len(found) > 1:
            raise PersonError(f"{what} line {image.line}: {image.attributes['name']!r} has {len(found)} reviewed tags "
                              f"({', '.join(found)}): keep one")  # fmt: skip
        review.answers += [Answer(image.attributes["name"], label, reviewer) for label in found]
        review.unanswered += not found
    return review


def _is_reviewed(tag: Element) -> bool:
    """Whether a person set or confirmed a tag. Other programs drop `source`; then the box alone says so, where there is one."""
    boxes = [child.text.strip().lower() for child in tag.all("attribute") if child.attributes.get("name") == REVIEWED]
    return "true" in boxes or tag.attributes.get("source", "" if boxes else BY_HAND[0]) in BY_HAND


def _assignee(root: Element) -> str:
    """Who the task is assigned to, where the export says so."""
    for meta in root.all("meta"):
        for task in meta.all("task"):
            for person in [*task.all("assignee"), *task.all("owner")]:
                names = [child.text.strip() for child in person.all("username")]
                if names:
                    return names[0]
    return ""
