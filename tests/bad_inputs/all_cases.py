"""The whole table. Rows are those of the list of faults: F structure and labels, G images, I tables, J archives, K names, M splits."""

from tests.bad_inputs import archives, formats, images, splits, structure, tables
from tests.bad_inputs.case import Case

CASES: list[Case] = [*structure.CASES, *images.CASES, *tables.CASES, *formats.CASES, *archives.CASES, *splits.CASES]

# Rows that no single folder shows: where they are tested instead, as (file, function).
ELSEWHERE = {
    "F9": ("tests/stages/test_quality.py", r"test_\w*label\w*"),
    "J9": ("tests/unit/source/test_archive.py", "test_nothing_that_exists_is_touched_and_leftovers_of_a_kill_are_removed"),
    "K10": ("tests/bad_inputs/test_command_line.py", "test_data_inside_the_output_folder"),
    "M4": ("tests/stages/test_split.py", "test_samples_that_were_made_before_the_split_are_stopped"),
    "M5": ("tests/unit/core/test_store.py", "test_only_the_ids_asked_for_can_be_read"),
    "M6": ("tests/stages/test_split.py", "test_samples_that_were_made_before_the_split_are_stopped"),
    "M9": ("tests/unit/core/test_ledger.py", "test_looks_and_models_are_counted"),
    "M10": ("tests/stages/test_quality.py", "test_a_class_that_brightness_gives_away_stops_the_run"),
}
