# A worker: everything that trains, compresses, exports and proves. Build from the project's root:
#   docker build -f infra/docker/worker.Dockerfile -t slipway-worker .
#   docker build -f infra/docker/worker.Dockerfile --build-arg EXTRAS=pipeline,team,serving,search,ray -t slipway-ray .
FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff AS build
ARG EXTRAS=pipeline,team,serving,search
WORKDIR /build
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY flows flows
COPY tasks tasks
COPY infra infra
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint requirements.lock ".[${EXTRAS}]"

FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff
ARG REVISION
RUN useradd --uid 10001 --no-create-home slipway && install -d -o slipway -m 0700 /state
COPY --from=build /venv /venv
WORKDIR /app
COPY mlflow.yaml ./
ENV PATH=/venv/bin:$PATH SLIPWAY_HOME=/state SLIPWAY_REVISION=$REVISION PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE
USER slipway
VOLUME /state
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "infra.secrets.inject"]
CMD ["python", "-m", "flows.orchestration.deployment"]
