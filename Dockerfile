# A worker image: built with the pinned toolchain, run without a shell's worth of extras, as an unprivileged user.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY config config
RUN cargo build --release --locked --bin difylog

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/difylog --create-home difylog
COPY --from=build /src/target/release/difylog /usr/local/bin/difylog
USER difylog
WORKDIR /var/lib/difylog
ENV DIFYLOG__HTTP__LISTEN=0.0.0.0:8088
EXPOSE 8088
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["curl", "-sf", "http://127.0.0.1:8088/healthz"]
# The second signal of a stop would abort: give the first the 25 seconds that it needs.
STOPSIGNAL SIGTERM
ENTRYPOINT ["difylog"]
CMD ["worker"]
