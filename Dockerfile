# Parley in a container. Build for a GPU with: docker build --build-arg TORCH_CONSTRAINT=0 .
FROM python:3.12-slim AS build
# 1: the versions of constraints.txt (what CI tests); 0: the newest that pyproject.toml allows.
ARG TORCH_CONSTRAINT=1
# "demo" adds the embedded 270M weights, so that the image answers without any download.
ARG EXTRAS=demo
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY bot ./bot
COPY migrations ./migrations
RUN python -m venv /opt/parley \
 && if [ "$TORCH_CONSTRAINT" = 1 ]; then set -- -c constraints.txt; else set --; fi \
 && /opt/parley/bin/pip install --no-cache-dir "$@" ".[${EXTRAS}]"

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 parley && mkdir /data && chown parley:parley /data
COPY --from=build /opt/parley /opt/parley
ENV PATH=/opt/parley/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PARLEY_DATA_DIR=/data \
    PARLEY_CACHE_DIR=/data/cache \
    HF_HOME=/data/huggingface
USER parley
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=5m \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
# SIGTERM drains: running replies may end within PARLEY_SHUTDOWN_GRACE_S.
STOPSIGNAL SIGTERM
ENTRYPOINT ["parley"]
CMD ["run"]
