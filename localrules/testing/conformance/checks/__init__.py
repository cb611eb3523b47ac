"""The checks, by the names under which they are reported.

Each takes a :class:`~localrules.testing.conformance.subject.RuleUnderTest`, and raises AssertionError if the rule fails
or :class:`~localrules.testing.conformance.subject.NotApplicable` if the check does not apply. The first line of its
docstring says what is checked.
"""

from __future__ import annotations

from collections.abc import Callable

from localrules.testing.conformance.checks import batch_checks as batches
from localrules.testing.conformance.checks import learning_checks as learning
from localrules.testing.conformance.checks import locality_checks as claims
from localrules.testing.conformance.checks import memory_checks as memory
from localrules.testing.conformance.checks import option_checks as options
from localrules.testing.conformance.checks import phase_checks as phases
from localrules.testing.conformance.checks import prediction_checks as answers
from localrules.testing.conformance.checks import reproducibility_checks as repeats
from localrules.testing.conformance.checks import step_checks as steps
from localrules.testing.conformance.checks import target_checks as targets
from localrules.testing.conformance.subject import RuleUnderTest

CHECKS: dict[str, Callable[[RuleUnderTest], None]] = {
    check.__name__: check
    for check in (
        options.options_are_documented,
        options.options_survive_json,
        options.entry_module_is_light,
        claims.locality_holds,
        claims.every_parameter_has_one_owner,
        claims.a_layer_step_writes_only_to_its_layer,
        steps.parameters_move_by_optimizers_alone,
        steps.forward_passes_match_declaration,
        steps.cached_values_are_detached,
        steps.no_graph_outlives_a_step,
        repeats.the_same_seed_gives_the_same_bits,
        repeats.resuming_equals_no_interruption,
        repeats.layers_can_train_in_parallel,
        repeats.batch_order_does_not_matter,
        phases.phases_train_their_layers_alone,
        answers.predictions_have_their_shape,
        answers.predictions_depend_on_image_and_state,
        answers.prediction_changes_nothing,
        batches.hard_batches_stay_finite,
        batches.the_smallest_batch_trains,
        batches.multi_operation_layers_stay_finite,
        batches.half_precision_trains,
        batches.updates_are_means_over_a_batch,
        memory.memory_stays_bounded,
        learning.auxiliary_parameters_learn,
        targets.soft_targets_are_honoured,
        learning.learns_digits,
    )
}
