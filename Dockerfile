# The service in one image: docker build -t terminal-service .
#
# Nothing in it needs BuildKit. For a build that can be repeated, name the two base images with their digests:
#   docker build --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:... -t terminal-service .

ARG NODE_IMAGE=node:22-bookworm-slim
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

# -- the web client: nothing of Node is in the image

FROM ${NODE_IMAGE} AS web
WORKDIR /src/clients/web
COPY clients/web/package.json clients/web/package-lock.json clients/web/.npmrc ./
RUN npm ci --no-fund --no-audit
COPY clients/web ./
# It writes into /src/terminal_service/static.
RUN npm run build

# -- the Python environment: wheels only, each with its hash

FROM ${PYTHON_IMAGE} AS environment
RUN python3 -m venv /opt/terminal-service/.venv
COPY requirements/base.txt /tmp/
RUN /opt/terminal-service/.venv/bin/pip install --disable-pip-version-check --no-cache-dir --no-input --no-compile \
        --only-binary :all: --require-hashes -r /tmp/base.txt \
    && /opt/terminal-service/.venv/bin/pip uninstall --yes --quiet setuptools pip
WORKDIR /opt/terminal-service
COPY backends backends
COPY nodes nodes
COPY replay replay
COPY transports transports
COPY terminal_service terminal_service
COPY --from=web /src/terminal_service/static terminal_service/static
# What is imported is compiled here: the root file system is read-only where it runs.
RUN printf '%s\n' '#!/bin/sh' 'exec /opt/terminal-service/.venv/bin/python -P -m terminal_service "$@"' \
        > .venv/bin/terminal-service \
    && chmod 755 .venv/bin/terminal-service \
    && .venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > /tmp/purelib \
    && echo /opt/terminal-service > "$(cat /tmp/purelib)/terminal-service.pth" \
    && .venv/bin/python -m compileall -q --invalidation-mode unchecked-hash . \
    && .venv/bin/terminal-service --version

# -- what runs

FROM ${PYTHON_IMAGE}
# tini is process 1: it hands signals on, and waits for every orphan, so that nothing becomes a zombie.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 terminal \
    && useradd --uid 10001 --gid terminal --create-home --shell /bin/bash terminal \
    && install --directory --owner terminal --group terminal --mode 700 /var/lib/terminal-service
COPY --from=environment /opt/terminal-service /opt/terminal-service
# HOLDER=off: the shells live and die with the container, so nothing is gained by a process that outlives the service.
# HOST: it does not start there without API_KEYS.
ENV PATH=/opt/terminal-service/.venv/bin:$PATH \
    HOLDER=off \
    HOST=0.0.0.0 \
    LOG_FORMAT=json \
    PORT=8081 \
    STATE_DIR=/var/lib/terminal-service
USER 10001:10001
WORKDIR /home/terminal
EXPOSE 8081
# Alive, not ready: a node that drains is as healthy as any.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["/bin/sh", "-c", "exec /opt/terminal-service/.venv/bin/python -I -S -c 'import os, socket; s = socket.create_connection((\"127.0.0.1\", int(os.environ[\"PORT\"])), 4); s.sendall(b\"GET /health/live HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n\"); assert b\" 200 \" in s.recv(64)'"]
ENTRYPOINT ["/usr/bin/tini", "--", "terminal-service"]
