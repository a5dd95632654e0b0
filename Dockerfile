# The library and the book's tools for a lab or a cluster.
#   docker build -t stationarity .
#   docker run --gpus all -v "$PWD/runs:/runs" stationarity stationarity run full_batch
#   docker run -v "$PWD/runs:/runs" -v "$PWD/html:/book/_build" stationarity jupyter-book build .
FROM python:3.12-slim-bookworm

# git tells which commit a run comes from.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /book

WORKDIR /book
COPY . .
# No index of CPU builds, so CUDA: what builds the image may lack the GPU of what runs it.
# With --build-arg TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu it is smaller by 3 GB.
ARG TORCH_CPU_INDEX=
RUN TORCH_CPU_INDEX="$TORCH_CPU_INDEX" python install.py

# Whoever runs it may write runs and data.
RUN mkdir /runs /data && chmod 777 /runs /data
ENV STATIONARITY_RUNS=/runs STATIONARITY_DATA=/data OPENBLAS_NUM_THREADS=1
CMD ["stationarity", "doctor"]
