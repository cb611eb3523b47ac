"""The service of W&B beside runs: results of commands, a dashboard, and weights that were logged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

from localrules.errors import UsageError
from localrules.tracking.service import CommandReport, TrackerService
from localrules_wandb.environment import from_environment
from localrules_wandb.login import Mode
from localrules_wandb.media import chart_media
from localrules_wandb.start import finish_run, start_run

_TIMEOUT = 15.0  # seconds


class WandbService(TrackerService):
    """Weights & Biases beside the tracking of runs."""

    def report(self, mode: str, report: CommandReport) -> None:
        import wandb

        report.directory.mkdir(parents=True, exist_ok=True)
        run, used = start_run(
            cast(Mode, mode),
            _TIMEOUT,
            project=from_environment("WANDB_PROJECT", "localrules"),
            group=report.group or from_environment("WANDB_RUN_GROUP", "") or None,
            job_type=from_environment("WANDB_JOB_TYPE", report.job_type),
            name=from_environment("WANDB_NAME", report.name),
            tags=[report.job_type],
            dir=from_environment("WANDB_DIR", str(report.directory)),
            config=dict(report.config),
        )
        try:
            if report.source and used == "online":
                run.use_artifact(report.source)
            logged = {chart.name: chart_media(chart) for chart in report.charts}
            logged |= {f"plots/{name}": wandb.Image(str(path)) for name, path in report.plots.items()}
            if logged:
                run.log(logged)
            run.summary.update({key: value for key, value in report.summary.items() if value is not None})
        except BaseException:
            finish_run(run, exit_code=1)
            raise
        finish_run(run, exit_code=0)

    def dashboard(self, project: str, entity: str | None, *, report: bool, dry_run: bool) -> dict[str, Any]:
        from localrules_wandb.dashboard import save_dashboard, specification

        if dry_run:
            return {**specification(), "url": None, "report_url": None}
        return save_dashboard(project, entity, report=report)

    def fetch(self, reference: str, parent: Path) -> Path:
        import wandb

        try:
            artifact = wandb.Api(overrides={}, timeout=round(_TIMEOUT)).artifact(reference)
            collection, _, version = artifact.name.partition(":")
            # Projects of several people have artifacts of one name.
            folder = parent / artifact.entity / artifact.project / f"{collection}-{version}"
            if not (folder / "config.toml").is_file():
                # Under another name first: a download that is cut short leaves no run folder.
                folder.parent.mkdir(parents=True, exist_ok=True)
                partial = folder.with_name(f".{folder.name}")
                artifact.download(root=str(partial), skip_cache=True)
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
        except Exception as error:  # of W&B's client, whose errors have no common class
            raise UsageError(
                "the weights cannot be downloaded from W&B",
                where=f"wandb:{reference}",
                why=f"{type(error).__name__}: {error}",
                fix="name them as ENTITY/PROJECT/NAME:ALIAS, as their page on W&B shows, and log in with: wandb login",
            ) from error
        return folder
