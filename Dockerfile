# One image for all processes: docker-compose.yml says which command each of them runs.

FROM python:3.12.11-slim-bookworm AS build
RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/pricelink/.venv
WORKDIR /opt/pricelink
# The dependencies first: they change less often than the source.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev --no-install-project
COPY config config
COPY schemas schemas
COPY streams streams
COPY agents agents
COPY gateway gateway
COPY market market
COPY notifier notifier
COPY cli cli
RUN --mount=type=cache,target=/root/.cache/uv uv sync --frozen --no-dev

FROM python:3.12.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /opt/pricelink --shell /usr/sbin/nologin pricelink
WORKDIR /opt/pricelink
COPY --from=build /opt/pricelink /opt/pricelink
ENV PATH=/opt/pricelink/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PRICELINK_CACHE=/var/cache/pricelink \
    NUMBA_CPU_NAME=generic
# The kernels are compiled into the image, for any processor of its architecture (x86-64: with SSE4.2), so that a container
# starts in seconds.
# A new volume at /run/pricelink belongs to whom the folder belongs to: who makes the secrets is no root either.
RUN mkdir -p /var/cache/pricelink /run/pricelink && pricelink warm-up && chown -R pricelink /var/cache/pricelink /run/pricelink
USER pricelink
EXPOSE 8000 9100
ENTRYPOINT ["pricelink"]
CMD ["doctor"]
