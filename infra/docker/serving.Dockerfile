# The model server alone: no torch, no Prefect, no training code. Its packages take 209 MB installed. Build from the project's root:  docker build -f infra/docker/serving.Dockerfile -t slipway-serving .
# Run:  docker run -p 8080:8080 -v slipway:/state -e MLFLOW_TRACKING_URI=http://mlflow:5000 slipway-serving digits@champion
FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff AS build
WORKDIR /build
COPY pyproject.toml requirements.lock ./
COPY flows/__init__.py flows/
COPY tasks tasks
COPY infra infra
# The lock pins the versions; the extras say which of them the server needs: serving,text,image for models that take text or pictures (60 MB more).
ARG EXTRAS=serving
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --constraint requirements.lock ".[${EXTRAS}]"

FROM python:3.11-slim@sha256:90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff
RUN useradd --uid 10001 --no-create-home slipway && install -d -o slipway -m 0700 /state
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH SLIPWAY_HOME=/state PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
USER slipway
VOLUME /state
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen(urllib.request.Request('http://127.0.0.1:8080/health', headers={'Host': 'localhost'}), timeout=2)"]
ENTRYPOINT ["python", "-m", "infra.serving", "--host=0.0.0.0", "--port=8080"]
CMD ["--help"]
