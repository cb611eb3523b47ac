"""The checks, by the names under which they are reported.

Each takes a :class:`~localrules.testing.subject.Subject` and raises AssertionError where the promise is broken, or
:class:`~localrules.testing.subject.Unfit` where it does not apply. Its docstring's first line is the promise.
"""

from __future__ import annotations

from collections.abc import Callable

from localrules.testing.conformance import answers, batches, claims, learning, options, repeats, steps
from localrules.testing.subject import Subject

CHECKS: dict[str, Callable[[Subject], None]] = {
    check.__name__: check
    for check in (
        options.options_are_documented,
        options.options_survive_json,
        options.entry_module_is_light,
        claims.locality_holds,
        claims.every_parameter_has_one_owner,
        claims.a_layers_step_writes_to_nothing_else,
        steps.parameters_move_by_optimizers_alone,
        steps.forwards_are_as_declared,
        steps.what_is_shared_is_detached,
        steps.no_graph_outlives_a_step,
        repeats.the_same_seed_gives_the_same_bits,
        repeats.resuming_equals_no_interruption,
        repeats.layers_may_learn_at_the_same_time,
        repeats.the_order_of_a_batch_does_not_matter,
        answers.answers_have_their_shape,
        answers.answers_come_from_pictures_and_state,
        answers.answering_changes_nothing,
        batches.hard_batches_stay_finite,
        batches.the_smallest_batch_stays_finite,
        batches.layers_of_several_operations_stay_finite,
        batches.half_precision_stays_finite,
        learning.learns_digits,
    )
}
