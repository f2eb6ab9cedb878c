# All programs in one image. Build it from a clone, not from an unpacked archive: the version is that of the commit.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/... github.com/osrg/gobgp/v4/cmd/gobgp \
    && ln -s waymark bin/kubectl-waymark

# Debian, because the agent runs nft or iptables, which an image without a distribution has not; and the release that the tests run on.
# iproute2 is for people: ip route show proto 179.
FROM debian:12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends iproute2 ipset iptables nftables \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/bin/ /usr/local/bin/
LABEL org.opencontainers.image.title="Waymark" \
      org.opencontainers.image.description="Pod addresses as first-class citizens of the datacenter network, by BGP" \
      org.opencontainers.image.source="https://github.com/waymark-bgp/waymark" \
      org.opencontainers.image.licenses="Apache-2.0"
# Root, with the capabilities that the pod gives: Kubernetes gives added capabilities to no other user, and the sockets in
# /run/waymark are root's. The controller runs as another user: see manifests/base/controller.yaml.
USER 0
