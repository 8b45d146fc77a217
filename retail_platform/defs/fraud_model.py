"""The fraud model under Dagster: trained for a week, tested on it, and put to use if it is the better one."""

import datetime as dt
import zoneinfo
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from retail_platform.contracts import FRAUD_LABELS, TRANSACTIONS
from retail_platform.defs.common import JobSelection, Materialized, one_line_failures
from retail_platform.settings import Settings

if TYPE_CHECKING:
    from retail_platform.reactions.fraud.model import Model
    from retail_platform.reactions.training.promotion import Decision

MODEL_KEY = dg.AssetKey(["reactions", "fraud_model"])
MODEL_JOB = "fraud_model"
_CHECK = "the_better_model_is_in_use"
_MONDAY = 1
_WEEK = dt.timedelta(days=7)


def build(settings: Settings) -> dg.Definitions:
    """The model, its job and its schedule; none where the lake has no verdicts to learn from."""
    if FRAUD_LABELS not in settings.topics:
        return dg.Definitions()
    job = dg.define_asset_job(
        MODEL_JOB,
        selection=dg.AssetSelection.assets(MODEL_KEY),
        description="Trains a fraud model for a week and puts it to use if it beats the one in use on that week.",
    )
    return dg.Definitions(assets=[_model(settings)], jobs=[job], schedules=[_weekly(settings, job)])


def _weeks(settings: Settings) -> dg.WeeklyPartitionsDefinition:
    """Weeks from Monday to Sunday, up to the last one whose labels are known: it ended a week ago."""
    return dg.WeeklyPartitionsDefinition(
        start_date=settings.partitions_start_date.isoformat(),
        day_offset=_MONDAY,
        timezone=settings.business_timezone,
        end_offset=-1,
    )


def _model(settings: Settings) -> dg.AssetsDefinition:
    tables = (TRANSACTIONS.silver_table, FRAUD_LABELS.silver_table)

    @dg.asset(
        key=MODEL_KEY,
        deps=[dg.AssetKey(list(table.asset_key)) for table in tables],
        partitions_def=_weeks(settings),
        group_name="reactions",
        kinds={"scikitlearn", "json"},
        owners=["team:fraud-desk"],
        pool=MODEL_JOB,
        check_specs=[
            dg.AssetCheckSpec(
                _CHECK,
                asset=MODEL_KEY,
                description="The file that the stream scores with is the model that was better on the week.",
            )
        ],
        description=(
            "How likely a card purchase is fraud, learned from the verdicts of analysts. A partition is the week that the "
            "model is tested on: it has learned from the four weeks that end a week before, and is put to use only if its "
            "average precision on the week beats that of the model in use. The reactions score with it from the next purchase "
            "on, in shadow."
        ),
    )
    def fraud_model(context: dg.AssetExecutionContext) -> Iterator[Materialized | dg.AssetCheckResult]:
        from retail_platform.reactions.fraud.published import CURRENT, read
        from retail_platform.reactions.training.promotion import promote
        from retail_platform.reactions.training.weekly import train

        folder = settings.fraud_models_dir
        with one_line_failures():
            new = train(settings, dt.date.fromisoformat(context.partition_key))
            decision = promote(folder, new)
            in_use = read(folder / CURRENT)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(new.model.version),
            metadata=_metadata(new.model, decision)
            | {"path": dg.MetadataValue.path(folder / f"{new.model.version}.json")},
        )
        yield dg.AssetCheckResult(
            check_name=_CHECK,
            passed=in_use is not None and in_use.version == decision.in_use,
            severity=dg.AssetCheckSeverity.WARN,
            description=decision.why,
            metadata={"in use": in_use.version if in_use else "none", "new": new.model.version},
        )

    return fraud_model


def _metadata(model: "Model", decision: "Decision") -> dict[str, Any]:
    training, test = model.training, model.test
    alerts = test["alerting"]
    importances = sorted(training["importances"].items(), key=lambda entry: -entry[1])
    bins = [{name: round(value, 4) for name, value in one.items()} for one in test["calibration"]]
    return {
        "version": model.version,
        "promoted": decision.promoted,
        "decision": decision.why,
        "AUC ROC": test["auc_roc"],
        "average precision": test["average_precision"],
        "card precision@100": test["card_precision_100"],
        "Brier score": test["brier"],
        "measures of the model in use": decision.incumbent or "none to compare with",
        "calibration": dg.MetadataValue.table([dg.TableRecord(one) for one in bins]),
        "threshold": model.threshold,
        "precision of hits": test["precision_of_hits"],
        "share of traffic hit": test["traffic_hit"],
        "alerts a day": round(alerts["alerts_a_day"], 1),
        "defrauded cards found": round(alerts["cards_found"], 4),
        "median hours from a card's first fraud to its alert": round(alerts["seconds_to_alert"] / 3600, 2),
        "trained on": f"{training['first_date']} to {training['last_date']}",
        "training purchases": training["purchases"],
        "training frauds": training["frauds"],
        "test purchases": test["purchases"],
        "test frauds": test["frauds"],
        "label delay (days)": training["label_delay_days"],
        "importances": dg.MetadataValue.table(
            [dg.TableRecord({"feature": name, "importance": round(value, 4)}) for name, value in importances]
        ),
    }


def _weekly(settings: Settings, job: JobSelection) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="fraud_model_weekly",
        job=job,
        cron_schedule="0 5 * * 1",
        execution_timezone=settings.business_timezone,
        description="On Mondays at five: the week whose labels have just become known. Off until analysts give verdicts.",
    )
    def weekly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        moment = context.scheduled_execution_time.astimezone(zoneinfo.ZoneInfo(settings.business_timezone))
        week = (moment.date() - 2 * _WEEK).isoformat()
        return dg.RunRequest(run_key=f"week:{week}", partition_key=week)

    return weekly
