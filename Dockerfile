# localrules in a container. It needs no GPU; for one, on a host with NVIDIA's container toolkit:
#   docker build --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 --build-arg TORCH_INDEX=https://pypi.org/simple .
ARG BASE=ubuntu:24.04
FROM ${BASE}

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /usr/local/localrules \
    && useradd --create-home --uid 10001 localrules \
    && install --directory --owner localrules /work
ENV PATH=/usr/local/localrules/bin:$PATH

# What changes seldom comes first, so that a change of the code installs only the code again.
WORKDIR /src
COPY constraints.txt ./
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --constraint constraints.txt torch --index-url ${TORCH_INDEX}
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > needed.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement needed.txt
COPY README.md LICENSE ./
COPY localrules ./localrules
COPY plugins ./plugins
RUN pip install --no-cache-dir --no-deps .

USER 10001:10001
WORKDIR /work
# Caches of another user's home, as with `docker run --user`, could not be written.
ENV MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["localrules"]
CMD ["--help"]
