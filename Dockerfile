# Builds Penstock and puts it into a small image that runs as nobody in particular.
#   docker build -t penstock .
#   docker run -p 3000:3000 -v penstock-data:/data -e OPENAI_API_KEY=sk-... penstock
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN make optimised && strip target/optimised/penstock

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 3000 penstock \
    && useradd --uid 3000 --gid penstock --home-dir /data --no-create-home --shell /usr/sbin/nologin penstock \
    && install --directory --owner penstock --group penstock --mode 0700 /data
COPY --from=build /src/target/optimised/penstock /usr/local/bin/penstock
# Settings are read from /data/penstock.toml where there is such a file; state lives in /data/data.
WORKDIR /data
VOLUME /data
USER penstock
ENV TZ=UTC
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["penstock", "health"]
ENTRYPOINT ["penstock"]
CMD ["serve"]
