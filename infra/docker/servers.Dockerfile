# Prefect's server and MLflow's: no torch, no training code. Build from the project's root:
#   docker build -f infra/docker/servers.Dockerfile -t slipway-servers .
FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY flows/__init__.py flows/
COPY tasks tasks
COPY infra infra
# The lock pins the versions; the extra says which of them the two servers need.
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint requirements.lock ".[servers]"

FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff
RUN useradd --uid 10001 --no-create-home slipway && install -d -o slipway -m 0700 /state
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER slipway
WORKDIR /state
EXPOSE 4200 5000
ENTRYPOINT ["python", "-m", "infra.secrets.inject"]
CMD ["prefect", "version"]
