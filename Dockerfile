# One binary on a small base. Data and policy are volumes; nothing else is written.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data grps \
    && install --directory --owner=grps --mode=0700 /data
COPY --from=build /src/target/release/grps /usr/local/bin/grps
COPY --chown=grps policy /policy
USER grps
ENV HOST=0.0.0.0 PORT=8000 DATA_DIR=/data POLICY_DIR=/policy LOG_FORMAT=json
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=6s --start-period=120s CMD ["grps", "healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["grps"]
CMD ["serve"]
