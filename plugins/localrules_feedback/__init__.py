"""Rules that send the error back through other weights than the forward ones, or directly to every layer."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="fa",
            target="localrules_feedback.fa:FeedbackAlignment",
            summary="Feedback alignment: the error goes back through fixed random weights.",
            reference="Lillicrap, Cownden, Tweed & Akerman 2016, https://doi.org/10.1038/ncomms13276",
            locality="feedback",
        ),
        RuleEntry(
            name="sign-symmetry",
            target="localrules_feedback.sign_symmetry:SignSymmetry",
            summary="The error goes back through weights that share only their signs with the forward ones.",
            reference="Liao, Leibo & Poggio 2016, https://arxiv.org/abs/1510.05067",
            locality="feedback",
        ),
        RuleEntry(
            name="kolen-pollack",
            target="localrules_feedback.kolen_pollack:KolenPollack",
            summary="Feedback weights change as the forward ones do, and both decay, so that they become equal.",
            reference="Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, https://arxiv.org/abs/1904.05391",
            locality="feedback",
        ),
        RuleEntry(
            name="weight-mirror",
            target="localrules_feedback.weight_mirror:WeightMirror",
            summary="Feedback weights learn the forward ones from noise that passes through these.",
            reference="Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, https://arxiv.org/abs/1904.05391",
            locality="backprop",
        ),
        RuleEntry(
            name="dfa",
            target="localrules_feedback.dfa:DirectFeedbackAlignment",
            summary="Direct feedback alignment: every layer gets the output's error through a random matrix.",
            reference="Nøkland 2016, https://arxiv.org/abs/1609.01596",
            locality="broadcast-error",
        ),
        RuleEntry(
            name="error-broadcast",
            target="localrules_feedback.error_broadcast:ErrorBroadcast",
            summary="Every layer gets the output's error through its running correlation with the layer's output.",
            reference="Erdogan, Pehlevan & Erdogan 2025, https://arxiv.org/abs/2504.11558",
            locality="broadcast-error",
        ),
        RuleEntry(
            name="node-perturbation",
            target="localrules_feedback.node_perturbation:NodePerturbation",
            summary="Noise at every layer's output, correlated with the change of the loss that it made.",
            reference="Dalm, van Gerven & Ahmad 2023, https://arxiv.org/abs/2310.00965",
            locality="broadcast-error",
        ),
        RuleEntry(
            name="synthetic-gradients",
            target="localrules_feedback.synthetic_gradients:SyntheticGradients",
            summary="Each layer learns from a prediction of its gradient: decoupled neural interfaces.",
            reference="Jaderberg et al. 2017, https://arxiv.org/abs/1608.05343",
            locality="backprop",
        ),
        RuleEntry(
            name="drtp",
            target="localrules_feedback.drtp:DirectRandomTargetProjection",
            summary="Direct random target projection: every layer gets the label through a random matrix.",
            reference="Frenkel, Lefebvre & Bol 2021, https://arxiv.org/abs/1909.01311",
            locality="local-labels",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-feedback",
            target="localrules_feedback.published:feedback",
            summary="LeNet on MNIST and Fashion-MNIST by feedback alignment, direct feedback alignment, sign symmetry.",
            reference="Sanfiz & Akrout 2021, https://arxiv.org/abs/2108.13446",
            suite="published",
        ),
    ]
