# One image for every role; the command says which: serve, consume, work, migrate, simulate …

FROM python:3.12.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN ["python", "-m", "venv", "--without-pip", "/opt/flashorder"]
# The dependencies first: this layer changes with the lock alone.
COPY requirements/run.lock requirements/run.lock
RUN ["pip", "--python", "/opt/flashorder/bin/python", "install", "--require-hashes", \
     "--only-binary=:all:", "--requirement", "requirements/run.lock"]
COPY pyproject.toml README.md LICENSE ./
COPY flashorder/ flashorder/
# Installed, the scripts live inside the package; see flashorder.infra.redis.scripts.
COPY lua/ flashorder/lua/
RUN ["pip", "--python", "/opt/flashorder/bin/python", "install", "--no-deps", "--no-index", \
     "--no-build-isolation", "."]

FROM python:3.12.12-slim-bookworm
RUN ["useradd", "--uid", "10001", "--create-home", \
     "--home-dir", "/var/lib/flashorder", "--shell", "/usr/sbin/nologin", "flashorder"]
COPY --from=build /opt/flashorder /opt/flashorder
ENV PATH=/opt/flashorder/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    FLASHORDER_HOST=0.0.0.0 \
    FLASHORDER_DATA_DIR=/var/lib/flashorder
WORKDIR /var/lib/flashorder
USER 10001
EXPOSE 8080
# For the web role; docker-compose.yml names the port of the others.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["flashorder"]
CMD ["serve"]
