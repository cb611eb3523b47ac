"""Back-propagation, the control for every local rule, and back-propagation that trades time for memory."""

from localrules import RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="backprop",
            target="localrules_backprop.backprop:Backprop",
            summary="Back-propagation of one global error: the control for time, memory and accuracy.",
            reference="Rumelhart, Hinton & Williams 1986, https://doi.org/10.1038/323533a0",
            locality="backprop",
        ),
        RuleEntry(
            name="backprop-checkpointed",
            target="localrules_backprop.checkpointed:BackpropCheckpointed",
            summary="Back-propagation that recomputes activations: the fair control for memory.",
            reference="Chen, Xu, Zhang & Guestrin 2016, https://arxiv.org/abs/1604.06174",
            locality="backprop",
        ),
    ]
