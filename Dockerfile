# Two stages: a wheel is built and installed into a virtual environment, then that environment alone is taken over.
# Not built where the project is developed, for want of a Docker engine; a test holds its sources and entry point to the tree.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /opt/campus-gateway \
    && /opt/campus-gateway/bin/pip install --require-hashes -r requirements.lock \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY drivers drivers
COPY storage storage
COPY config config
COPY simulators simulators
COPY verifier verifier
RUN /opt/build/bin/python -m hatchling build -t wheel -d /wheel \
    && /opt/campus-gateway/bin/pip install --no-deps --no-index /wheel/*.whl

FROM python:3.13-slim
RUN groupadd --gid 10001 campus-gateway \
    && useradd --uid 10001 --gid campus-gateway --home-dir /var/lib/campus-gateway --no-create-home --shell /usr/sbin/nologin campus-gateway \
    && install -d -o campus-gateway -g campus-gateway -m 0750 /var/lib/campus-gateway \
    && install -d /etc/campus-gateway
COPY --from=build /opt/campus-gateway /opt/campus-gateway
# PYTHONSAFEPATH: a file called config.py in the working directory must not stand in for the package of that name.
ENV PATH=/opt/campus-gateway/bin:$PATH PYTHONSAFEPATH=1 PYTHONUNBUFFERED=1
USER campus-gateway
WORKDIR /var/lib/campus-gateway
# The site file and its secrets are mounted at /etc/campus-gateway, read only; everything the gateway keeps is in the volume.
VOLUME /var/lib/campus-gateway
EXPOSE 8080
ENV CAMPUS_HEALTH_URL=http://127.0.0.1:8080/healthz
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(os.environ['CAMPUS_HEALTH_URL'], timeout=4).close()"]
ENTRYPOINT ["campus-gateway"]
CMD ["run", "--config", "/etc/campus-gateway/site.yaml", "--data-dir", "/var/lib/campus-gateway"]
