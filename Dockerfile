# The lab with the CPU build of torch. To run a study in the current folder:
#   docker build -t interplay .
#   docker run --rm -v "$PWD:/work" interplay study study.toml
FROM python:3.12-slim

# No wheel of the CUDA libraries, which take gigabytes.
RUN pip install --no-cache-dir "torch>=2.6,<2.14" --index-url https://download.pytorch.org/whl/cpu

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY studies studies
COPY src src
# hadolint ignore=DL3013
RUN pip install --no-cache-dir .

WORKDIR /work
ENTRYPOINT ["interplay"]
CMD ["--help"]
