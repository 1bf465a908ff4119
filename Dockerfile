# The image that pods run: the operator and the registries that it makes.
#
#   docker build --tag lagan .
#
# `tests/cluster/image` builds the same from a binary, without a daemon, for the
# tests: what changes here changes there.

FROM docker.io/library/rust:1-bookworm AS builder
# aws-lc, which does the cryptography of TLS, is C.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin lagan \
    && install -D --strip target/release/lagan /out/lagan

# glibc, libgcc, certificate authorities, and a user who is nobody. No shell.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Lagan" \
      org.opencontainers.image.description="A Kubernetes operator for container registries, and the registry" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=builder /out/lagan /usr/local/bin/lagan
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/usr/local/bin/lagan"]
