# One image for the nine services, the lab's own tools and the load generators: `python -m MODULE` starts each.
ARG PYTHON=3.13

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:${PYTHON}-slim AS packages
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /app
# This layer is rebuilt when the lock changes, not when the code does.
RUN --mount=from=uv,source=/uv,target=/bin/uv \
    --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --frozen --no-dev --no-install-project --python python3

FROM python:${PYTHON}-slim
RUN useradd --system --uid 10001 --user-group --home-dir /nonexistent --shell /usr/sbin/nologin lab \
 && install --directory --owner lab --group lab /data
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LAB_HOST=0.0.0.0 \
    LAB_DATA=/data
WORKDIR /app
COPY --from=packages /app/.venv .venv
COPY . .
USER lab
# The root of a container is read-only, so the bytecode has to be there before.
CMD ["python", "-c", "raise SystemExit('name a module to run, such as: python -m services.sync_rest.order')"]
