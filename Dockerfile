# One file, three images: `docker build --target api|worker|executor .` (SPEC §11). What each starts is said in
# wvs_project/stack/programs.py, repeated in CMD, and held together by tests/deploy/.
# The digest is that of the tag's index, for every architecture; it and the tag are raised together.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS base
ENV PATH=/opt/wvs/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /srv/wvs

# Environments are made here and copied whole: neither pip's cache nor a compiler reaches an image that runs. Wheels
# alone, in the versions that were tested: what would have to be compiled stops the build.
FROM base AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PIP_ONLY_BINARY=:all:
RUN python -m venv --without-pip /opt/wvs

FROM build AS build-control
COPY requirements.txt ./
RUN python -m pip --python /opt/wvs/bin/python install --requirement requirements.txt

FROM build AS build-execution
COPY requirements-dev.txt ./
COPY executor/requirements.txt ./executor/
RUN python -m pip --python /opt/wvs/bin/python install --requirement executor/requirements.txt

FROM base AS control
RUN useradd --system --no-create-home --uid 10001 wvs
COPY --from=build-control /opt/wvs /opt/wvs
COPY manage.py ./
COPY wvs_project ./wvs_project
COPY observation ./observation
COPY wvs_agent ./wvs_agent
COPY executor ./executor
COPY tasks ./tasks
COPY workspaces ./workspaces
COPY snapshots ./snapshots
USER 10001

# The API. `migrate` is this image with another command.
FROM control AS api
EXPOSE 8080 9090
CMD ["python", "-m", "gunicorn", "-c", "wvs_project/gunicorn_conf.py", "wvs_project.wsgi:application"]

# The worker. The scheduler is this image with another command.
FROM control AS worker
EXPOSE 9091
CMD ["python", "manage.py", "run_worker"]

# The execution plane: no Django, no driver of a database. It is root, for it mounts the volume and keeps the owners
# of what it clones; what else root may do is taken from it where it is run (compose.yml).
FROM base AS executor
COPY --from=build-execution /opt/wvs /opt/wvs
COPY observation ./observation
COPY wvs_agent ./wvs_agent
COPY executor ./executor
EXPOSE 7070 9092 9567
CMD ["python", "-m", "executor"]
