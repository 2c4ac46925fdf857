# Countersign in a container. Two targets:
#   docker build --target cpu  -t countersign:cpu .     (default in docker-compose.yml)
#   docker build --target cuda -t countersign:cuda .    (needs the NVIDIA container toolkit to run on a GPU)
# The service listens on all of the container's addresses and therefore refuses to start without an encryption key and
# COUNTERSIGN_BOOTSTRAP_KEY; `docker run --rm countersign:cpu keys generate` makes one.

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/countersign
ENV PATH=/opt/countersign/bin:$PATH

# PyTorch's own index has the build without CUDA, a tenth of the size.
FROM base AS packages-cpu
COPY constraints.txt /build/constraints.txt
RUN pip install --index-url https://download.pytorch.org/whl/cpu "$(grep '^torch==' /build/constraints.txt)"

FROM base AS packages-cuda
COPY constraints.txt /build/constraints.txt
RUN pip install -c /build/constraints.txt torch

FROM packages-cpu AS build-cpu
COPY pyproject.toml README.md LICENSE /build/
COPY app /build/app
COPY model /build/model
RUN pip install -c /build/constraints.txt "/build[index,remote]"

FROM packages-cuda AS build-cuda
COPY pyproject.toml README.md LICENSE /build/
COPY app /build/app
COPY model /build/model
RUN pip install -c /build/constraints.txt "/build[index,remote]"

FROM python:3.11-slim AS runtime
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/opt/countersign/bin:$PATH \
    COUNTERSIGN_HOST=0.0.0.0 \
    COUNTERSIGN_PORT=8000 \
    COUNTERSIGN_WEIGHTS=/srv/countersign/weights/countersign-6 \
    COUNTERSIGN_DATABASE_URL=sqlite:////var/lib/countersign/countersign.sqlite3
# The store's volume belongs to the service; everything else may be read-only.
RUN useradd --system --uid 10001 --no-create-home countersign \
    && mkdir -p /var/lib/countersign /srv/countersign \
    && chown 10001:10001 /var/lib/countersign
COPY weights /srv/countersign/weights
WORKDIR /srv/countersign
VOLUME /var/lib/countersign
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['COUNTERSIGN_PORT']}/readyz\", timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve"]

FROM runtime AS cuda
COPY --from=build-cuda /opt/countersign /opt/countersign
USER 10001

FROM runtime AS cpu
COPY --from=build-cpu /opt/countersign /opt/countersign
USER 10001
