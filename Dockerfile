# The image of every role: built with the pinned toolchain, run without a shell's worth of extras, as an unprivileged user.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config config
# The manifest names them; nothing of them is built.
COPY benches benches
RUN cargo build --release --locked --bin difylog

FROM debian:12.11-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/difylog --create-home difylog
COPY --from=build /src/target/release/difylog /usr/local/bin/difylog
COPY docker/healthcheck /usr/local/bin/healthcheck
USER difylog
WORKDIR /var/lib/difylog
# A worker listens on the first, `serve` on the second. A port given in a --config file is not the one that is asked: set
# these variables instead.
ENV DIFYLOG__HTTP__LISTEN=0.0.0.0:8088 DIFYLOG__SERVE__LISTEN=0.0.0.0:8089
EXPOSE 8088 8089
HEALTHCHECK --interval=10s --timeout=12s --start-period=10s CMD ["healthcheck"]
# The second signal of a stop would abort: give the first the 25 seconds that it needs.
STOPSIGNAL SIGTERM
ENTRYPOINT ["difylog"]
CMD ["worker"]
