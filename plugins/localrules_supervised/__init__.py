"""Rules in which every layer has the labels and a loss of its own."""

from localrules import ExperimentEntry, RuleEntry, hookimpl

API_VERSION = 1


@hookimpl
def localrules_rules() -> list[RuleEntry]:
    return [
        RuleEntry(
            name="local-ce",
            target="localrules_supervised.local_ce:LocalCrossEntropy",
            summary="Cross-entropy of a linear classifier that belongs to the layer.",
            reference="Belilovsky, Eickenberg & Oyallon 2019, https://arxiv.org/abs/1812.11446",
            locality="local-labels",
        ),
        RuleEntry(
            name="pred",
            target="localrules_supervised.pred:Pred",
            summary="Cross-entropy of a linear decoder that reads feature maps as finely as its size allows.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
            locality="local-labels",
        ),
        RuleEntry(
            name="sim",
            target="localrules_supervised.sim:Sim",
            summary="Similarity matching: samples of one class become similar, of different classes dissimilar.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
            locality="local-labels",
        ),
        RuleEntry(
            name="predsim",
            target="localrules_supervised.predsim:PredSim",
            summary="Both losses of Nøkland & Eidnes: 0.01 pred + 0.99 sim.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
            locality="local-labels",
        ),
        RuleEntry(
            name="dgl",
            target="localrules_supervised.dgl:DGL",
            summary="Decoupled greedy learning: cross-entropy of a small network on the layer (MLP-SR).",
            reference="Belilovsky, Eickenberg & Oyallon 2020, https://arxiv.org/abs/1901.08164",
            locality="local-labels",
        ),
        RuleEntry(
            name="infopro",
            target="localrules_supervised.infopro:InfoPro",
            summary="Reconstruct the image, and contrast or classify: keep what later layers need.",
            reference="Wang et al. 2021, https://arxiv.org/abs/2101.10832",
            locality="local-labels",
        ),
        RuleEntry(
            name="auglocal",
            target="localrules_supervised.auglocal:AugLocal",
            summary="Cross-entropy of a head built like the layers that follow in the network.",
            reference="Ma et al. 2024, https://arxiv.org/abs/2402.17318",
            locality="local-labels",
        ),
        RuleEntry(
            name="mono-forward",
            target="localrules_supervised.mono_forward:MonoForward",
            summary="Cross-entropy of a bias-free projection onto the classes, which also gives the prediction.",
            reference="Gong, Li & Abdulla 2025, https://arxiv.org/abs/2501.09238",
            locality="local-labels",
        ),
        RuleEntry(
            name="sigprop",
            target="localrules_supervised.sigprop:SigProp",
            summary="Labels pass through the network as images; layers move images towards their label's.",
            reference="Kohan, Rietman & Siegelmann 2022, https://arxiv.org/abs/2204.01723",
            locality="local-labels",
        ),
        RuleEntry(
            name="lls",
            target="localrules_supervised.lls:LLS",
            summary="Cross-entropy of the layer's agreement with one fixed wave per class; no head to learn.",
            reference="Apolinario, Roy & Roy 2025, https://arxiv.org/abs/2405.15868",
            locality="local-labels",
        ),
        RuleEntry(
            name="channel-goodness",
            target="localrules_supervised.channel_goodness:ChannelGoodness",
            summary="Each class owns a group of channels; cross-entropy of the groups' activity.",
            reference="Papachristodoulou, Kyrkou, Timotheou & Theocharides 2024, https://arxiv.org/abs/2312.12668, "
            "Sun et al. 2025, https://openreview.net/forum?id=kOYnXVQCtA",
            locality="local-labels",
        ),
        RuleEntry(
            name="forward-gradient",
            target="localrules_supervised.forward_gradient:ForwardGradient",
            summary="Many small losses, each learned from its derivative along one random direction of activity.",
            reference="Ren, Kornblith, Liao & Hinton 2023, https://arxiv.org/abs/2210.03310",
            locality="local-labels",
        ),
        RuleEntry(
            name="sgr",
            target="localrules_supervised.sgr:SGR",
            summary="Cross-entropy of a head, whose gradient at the input is to agree with that of the layer below.",
            reference="Yang et al. 2024, https://arxiv.org/abs/2406.05222",
            locality="local-labels",
        ),
        RuleEntry(
            name="man",
            target="localrules_supervised.man:MAN",
            summary="Cross-entropy of a head on the next layer, with averaged and with learned weights.",
            reference="Su et al. 2024, https://arxiv.org/abs/2407.05623",
            locality="window",
        ),
    ]


@hookimpl
def localrules_experiments() -> list[ExperimentEntry]:
    return [
        ExperimentEntry(
            name="published-local-losses",
            target="localrules_supervised.published:local_losses",
            summary="pred, sim and predsim on MNIST and Fashion-MNIST, fully connected.",
            reference="Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656",
            suite="published",
        ),
    ]
