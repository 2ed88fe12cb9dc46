# The kit's own programs. One build stage compiles all of them; each target is an image of its own.
# The base images are arguments so that a mirror, or a stand-in made from packages (images/), can take their place.
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY bench bench
COPY command-line command-line
# The agent searches the documentation for its answers: it is built in.
COPY docs docs
COPY example-agent example-agent
COPY examples examples
COPY export export
COPY load-test load-test
COPY log-watch log-watch
COPY simulators simulators
COPY stack-tests stack-tests
# The registry and the target folder outlive the build: a changed line costs one crate, not all of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin example-agent --bin simulators --bin load-test --bin scale-durations --bin log-watch \
    && cd target/release && install -D -t /out example-agent simulators load-test scale-durations log-watch

FROM ${RUNTIME_IMAGE} AS runtime
# For providers and collectors behind https: debian:*-slim has no CA certificates, the build image has.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
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
