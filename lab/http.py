"""The one way in which the lab talks to a service: as a client would, with each failure as one sentence."""

import json
import os
from typing import Any

import httpx

from lab.errors import LabError
from lab.stack import stack

_TIMEOUT = 60.0


def post(service: str, path: str, body: dict[str, Any]) -> Any:
    """The JSON that a service answers to a POST.

    Raises:
        LabError: It does not answer, wants the admin token, or answers with an error; the text says which.
    """
    return _call("POST", service, path, body)


def get(service: str, path: str) -> Any:
    """The JSON that a service answers to a GET; raises as `post` does."""
    return _call("GET", service, path, None)


def _call(method: str, service: str, path: str, body: dict[str, Any] | None) -> Any:
    port = stack().service(service).port
    token = os.environ.get("LAB_ADMIN_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token and path.startswith("/admin/") else {}
    url = f"http://127.0.0.1:{port}{path}"
    try:
        reply = httpx.request(method, url, json=body, headers=headers, timeout=_TIMEOUT, trust_env=False)
    except httpx.HTTPError as error:
        raise LabError(f"{service} does not answer ({error}); see `lab status`.") from error
    try:
        answer = reply.json()
    except ValueError:
        answer = reply.text[:300]
    if reply.status_code == httpx.codes.UNAUTHORIZED:
        raise LabError(f"{service} wants the admin token; set LAB_ADMIN_TOKEN to the one it was started with.")
    if not reply.is_success:
        detail = answer.get("detail", answer) if isinstance(answer, dict) else answer
        text = detail if isinstance(detail, str) else json.dumps(detail)
        raise LabError(f"{service} answered {reply.status_code}: {text}")
    return answer
