"""``GET /model``: the weights in use, their terms and their error rates."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.dependencies import COMMON_PROBLEMS, RunningContext
from app.api.schemas import ModelOut
from app.http.authorization import Reading
from app.http.problems import documented
from model.decision.calibration import RATE_DIGITS
from model.decision.verdict import round_down

router = APIRouter(tags=["model"])
_FARS = (0.01, 0.02, 0.05, 0.10, 0.20)


@router.get(
    "/model", summary="Show the model", response_model=ModelOut, responses=documented(*COMMON_PROBLEMS)
)
async def get_model(context: RunningContext, _: Reading) -> ModelOut:
    """Return the version, device, card and terms of the weights, and their error rates at usual operating points.

    Requires the scope `read`.

    ```sh
    curl http://127.0.0.1:8000/model
    ```
    """
    embedder = context.embedder
    calibration = embedder.calibration
    low, high = calibration.far_range
    points: list[dict[str, float | int]] = []
    for parameters in calibration.parameters:
        for target in (far for far in _FARS if low <= far <= high):
            score = calibration.threshold(target, parameters.references)
            point = calibration.operating_point(score, parameters.references).rounded()
            points.append(
                {
                    "references": parameters.references,
                    "target_far": target,
                    "far_skilled": point.far_skilled,
                    "far_random": point.far_random,
                    "frr": point.frr,
                }
            )
    return ModelOut(
        version=embedder.version,
        device=embedder.device,
        precision=embedder.precision,
        terms=embedder.card.terms,
        calibration={
            "id": calibration.identifier,
            "created": calibration.created.isoformat(),
            "fitted_on": calibration.fitted_on.model_dump(mode="json"),
            # Rounded inwards, so that both ends are valid values of `target_far`.
            "far_range": [-round_down(-low, RATE_DIGITS), round_down(high, RATE_DIGITS)],
            "largest_threshold": round_down(calibration.largest_threshold, RATE_DIGITS),
        },
        operating_points=points,
        card=embedder.card.model_dump(mode="json"),
    )
