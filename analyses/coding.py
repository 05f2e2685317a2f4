"""Is the code localist or distributed?"""

from functools import partial

from clntk.axes import EVAL_TASK, LABELS, LAYER, OTHER_TASK
from clntk.figures import findings
from clntk.figures.answer import Answer
from clntk.figures.dots import dots
from clntk.figures.matrices import matrices_height, matrices_of, matrix_row
from clntk.figures.style import dashed, grid, house_style, legend, stacked
from clntk.figures.units import rainclouds
from clntk.registry import register
from clntk.runs.runset import RunSet

NUMBERS = (
    "coding.one_task",
    "coding.tuned",
    "coding.dip_p",
    "units_to_decode_task.units",
    "unit_tuning.selectivity_corrected",
    "top_unit_overlap",
    "lesion_damage",
    "localism",
)


@register("analysis", place=5, networks=True)
def coding(runs: RunSet) -> Answer:
    """Whether units serve one task each, beyond chance and the untrained network, and what lesions of them do."""
    found, of = findings.Findings(runs), findings.scored_by(runs)
    fraction = findings.against_untrained(found.quantity("coding", "one_task", keep=findings.ends))
    units = found.quantity("unit_tuning", "selectivity_corrected", without=(EVAL_TASK,), keep=findings.ends)
    top = found.quantity("top_unit_overlap", "overlap", reference="by_chance", keep=findings.last_pairs)
    damage = found.quantity("lesion_damage", "damage", reference="null_mean", keep=findings.last, of=of)
    found.quantity("units_to_decode_task", "units", keep=findings.last)
    by_task = findings.whose_damage(damage)
    score = found.quantity("localism", "score", keep=findings.last, of=of)
    compared = {"by": LAYER, "reference": findings.REFERENCE}
    units_say = [
        ("Tuned to one task", dots, fraction, compared),
        ("Selectivity − null", rainclouds, units, {}),
        ("Overlap of top units", dots, top, compared),
    ]
    lesions_say = [
        (f"Damage ({of})", dots, by_task, {"by": "to", "reference": findings.REFERENCE}),
        ("Localism score", dots, score, {"by": LAYER}),
    ]
    drawn = (findings.draws(part, runs.conditions) for part in (units_say, lesions_say))
    rows = [(2.4, partial(grid, panels)) for panels in drawn if panels]
    if len(damage):
        sides = {"rows": OTHER_TASK, "columns": EVAL_TASK}
        lost, null = (matrices_of(damage, v, **sides) for v in (findings.VALUE, findings.REFERENCE))
        labels = {"label": f"Damage ({of})", "row_label": "Units tuned to", "column_label": LABELS[EVAL_TASK]}
        draw = partial(matrix_row, lost, beside=null, vmax=None, about_zero=True, **labels)
        rows.append((matrices_height(lost), draw))
    table = found.table()
    told = [
        found.text(*NUMBERS),
        findings.references("Coding, one task, in the untrained network", fraction),
        findings.references("Lesion damage by random groups", by_task, by="to"),
    ]
    with house_style():
        figure = stacked(rows)
        legend(figure, runs.conditions, control=dashed())
    return Answer(
        title="Localist or distributed?",
        figure=figure,
        table=table,
        text="\n".join(filter(None, told)),
        caption=(
            "After the last phase; dots are means over seeds with 95 % bootstrap intervals, dashes what they are "
            "compared with. Top: units called tuned that respond to one task alone with at least half their largest "
            "mean (dashes: untrained network); selectivity of every live unit less its mean under permuted task "
            "labels (grey: untrained); Jaccard overlap of two tasks' most active tenth of units (dashes: random "
            "sets). Middle and bottom: damage to a task when the units tuned to one are silenced, mean over layers "
            "(dashes, and in brackets: random groups of as many units); localism is (own − others)/max of that "
            "damage, 1 if the own task alone suffers, 0 if others do as much. Tuning alone does not show protection. "
            "In the text: dip test (p small: two modes), and the fewest units that a sparse decoder tells the task by."
        ),
    )
