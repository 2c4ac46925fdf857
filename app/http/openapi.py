"""The OpenAPI document: what the framework makes of the endpoints, put right where the service does otherwise."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from PIL import Image, ImageDraw

from app.http.bodies import JSON, ImageRoute
from app.http.problems import Problem


def document_of(app: FastAPI, routers: Sequence[APIRouter], most_files: int) -> Callable[[], dict[str, Any]]:
    """Build what `FastAPI.openapi` is replaced by.

    Problems stand in place of the framework's own 422, which this service never sends, and forms of images are
    described as JSON bodies as well. The document has no servers: the framework adds the prefix of a proxy to a copy,
    for the request that has it.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                license_info=app.license_info,
            )
            components = made.setdefault("components", {}).setdefault("schemas", {})
            for component in components.values():
                _describe_files(component, most_files)
            for router in routers:
                _describe_json(router, made)
            components["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            for name in ("HTTPValidationError", "ValidationError"):
                components.pop(name, None)
            for methods in made["paths"].values():
                for call in methods.values():
                    content = call["responses"].get("422", {}).get("content", {})
                    if JSON in content:
                        del call["responses"]["422"]
            app.openapi_schema = made
        return app.openapi_schema

    return document


def _describe_files(schema: dict[str, Any], most: int) -> None:
    """Say of uploaded files what the framework does not: that they are binary, and how many may come at once."""
    files = {
        name: field
        for name, field in schema.get("properties", {}).items()
        if field.get("items", field).get("contentMediaType") == "application/octet-stream"
    }
    for field in files.values():
        field.get("items", field)["format"] = "binary"  # what client generators know
        if "items" in field:
            field["maxItems"] = most - (len(files) - 1)


def _describe_json(router: APIRouter, document: dict[str, Any]) -> None:
    """Say that a call with a form of images takes JSON with base64 as well."""
    schemas = document["components"]["schemas"]
    for route in router.routes:
        if not isinstance(route, ImageRoute) or not route.fields():
            continue
        content = document["paths"][route.path_format]["post"]["requestBody"]["content"]
        form = schemas[content["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]]
        name = "".join(word.title() for word in route.name.split("_")) + "In"
        schemas[name] = schema = route.document(form)
        content[JSON] = {
            "schema": {"$ref": f"#/components/schemas/{name}"},
            "example": {field: _example(schema["properties"][field]) for field in schema.get("required", ())},
        }


def _example(schema: dict[str, Any]) -> object:
    if "items" in schema:
        return [_example(schema["items"])]
    return _scribble() if schema.get("format") == "byte" else "writer-001"


def _scribble() -> str:
    """A small image that the service reads, as base64 of a PNG."""
    image = Image.new("1", (240, 100), 1)
    turns = [0.02 * step for step in range(400)]
    points = [
        (20 + 25 * t + 18 * math.cos(5 * t), 50 + 30 * math.sin(5 * t) * math.cos(0.7 * t)) for t in turns
    ]
    ImageDraw.Draw(image).line(points, fill=0, width=3)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()
