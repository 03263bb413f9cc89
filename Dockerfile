# Search, restore and serve in a container; docs/platforms.md says how, and that no engine was at hand
# to build it.
#
#   docker build -t pyramid-reid .                            # CPU
#   docker build -t pyramid-reid --build-arg DEVICE=cuda .    # torch with CUDA: some 4 GB more

ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG DEVICE=cpu

# DVC looks for Git
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 reid

WORKDIR /opt/pyramid-reid
COPY requirements.txt .ci/without_cuda.awk ./
# requirements.txt is complete and has the hashes of PyPI's files. PyPI's torch is that with CUDA; the one
# for CPUs comes from torch's own index, of the same version but without a hash here.
RUN set -eu; \
    case "$DEVICE" in \
        cuda) cp requirements.txt chosen.txt ;; \
        cpu) awk -f without_cuda.awk requirements.txt > chosen.txt; \
            pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu \
                $(awk -v only=1 -f without_cuda.awk requirements.txt) ;; \
        *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 1 ;; \
    esac; \
    pip install --no-cache-dir --no-deps --require-hashes -r chosen.txt

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

USER reid
# for any other user, as `docker run --user` names one
ENV HOME=/tmp
WORKDIR /crops
EXPOSE 8000
# /login is open and asks for no token
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/login', timeout=4)"]
ENTRYPOINT ["pyramid-reid"]
CMD ["serve", "--host", "0.0.0.0", "--model", "/crops/model", "--store", "/crops/gallery"]
