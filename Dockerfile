# The kit's own programs, an image for each target: what the services run, and `kit` with the user's verbs.
# The base images are arguments so that a mirror, or a stand-in made from packages (images/), can take their place.
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim
# Programs of others that the verbs call: docker, promtool and amtool.
ARG DOCKER_CLI_IMAGE=docker:28.5.2-cli
ARG PROMETHEUS_IMAGE=prom/prometheus:v3.13.5
ARG ALERTMANAGER_IMAGE=prom/alertmanager:v0.35.0

FROM ${RUST_IMAGE} AS sources
WORKDIR /context
# Cargo wants the manifests of all members of the workspace, whichever it compiles.
COPY Cargo.toml Cargo.lock ./
COPY bench bench
COPY command-line command-line
# The agent searches the documentation for its answers: it is built in.
COPY docs docs
COPY example-agent example-agent
COPY examples examples
COPY export export
COPY kit kit
COPY load-test load-test
COPY log-watch log-watch
COPY scale-durations scale-durations
COPY simulators simulators
COPY stack-tests stack-tests
COPY --chmod=755 setup/compile.sh /usr/local/bin/compile

FROM sources AS build
ARG RUST_IMAGE TARGETARCH
# The cache outlives the build: a changed line costs one crate, not all of them. It is used by one build at a time, and is another
# for another processor or compiler.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=agent-kit-${TARGETARCH}-${RUST_IMAGE},target=/cache,sharing=locked \
    compile release example-agent simulators load-test scale-durations log-watch

FROM sources AS build-kit
ARG RUST_IMAGE TARGETARCH
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,id=agent-kit-${TARGETARCH}-${RUST_IMAGE},target=/cache,sharing=locked \
    compile verbs kit

FROM ${DOCKER_CLI_IMAGE} AS docker-cli
FROM ${PROMETHEUS_IMAGE} AS prometheus
FROM ${ALERTMANAGER_IMAGE} AS alertmanager

FROM ${RUNTIME_IMAGE} AS runtime
# For providers and collectors behind https: debian:*-slim has no CA certificates, the build image has.
COPY --from=sources /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
# A fixed number, not a name: Kubernetes' runAsNonRoot can check it, and the log volume's files keep one owner.
# The log folder is made here because a named volume takes the owner of the folder it covers.
RUN install -d -o 10001 -g 10001 -m 0755 /var/log/agent
USER 10001:10001

FROM runtime AS example-agent
COPY --from=build /out/example-agent /usr/local/bin/
EXPOSE 8080 8000
ENTRYPOINT ["example-agent"]

FROM runtime AS simulators
COPY --from=build /out/simulators /usr/local/bin/
EXPOSE 8081 8082
ENTRYPOINT ["simulators"]

FROM runtime AS load-test
# scale-durations is for the drills, which run the alerts' real rules in a twentieth of their time.
COPY --from=build /out/load-test /out/scale-durations /usr/local/bin/
ENTRYPOINT ["load-test"]

FROM runtime AS log-watch
COPY --from=build /out/log-watch /usr/local/bin/
EXPOSE 9598
ENTRYPOINT ["log-watch"]

FROM runtime AS kit
COPY --from=docker-cli /usr/local/bin/docker /usr/local/bin/
COPY --from=prometheus /bin/promtool /usr/local/bin/
COPY --from=alertmanager /bin/amtool /usr/local/bin/
COPY --from=build-kit /out/kit /usr/local/bin/
ENTRYPOINT ["kit"]
