# The kit's verbs. Variables after them reach the scripts, and Compose: make up THRESHOLDS=ecommerce PROMETHEUS_PORT=9190
# Each recipe is a script in setup/, readable and usable on its own.
.DEFAULT_GOAL := help
# `make -j setup up` still means one after the other.
.NOTPARALLEL:
.PHONY: help setup up down reset ps logs story demo check test env secrets fmt

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { gsub(/\$$\$$/, "$$", $$2); printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## find out what this machine has and make up what is missing (engine, images, tools)
	@setup/setup.sh

up: ## start the stack, wait until it is healthy, print the addresses
	@setup/up.sh

down: ## stop the stack; its data stays
	@setup/down.sh

reset: ## stop the stack and remove its data, after asking (YES=1: without)
	@setup/down.sh --volumes

ps: ## what runs, and how it is
	@eval "$$(setup/env.sh)" && docker compose ps --all

logs: ## follow the logs (SERVICE=jaeger: of one service)
	@eval "$$(setup/env.sh)" && docker compose logs --follow --tail 50 $(SERVICE)

story: ## all that is known of one request: its lines, spans, tokens and cost (REQUEST=id of a request or trace)
	@setup/story.sh "$(REQUEST)"

demo: ## agent, simulators and traffic as plain processes, without Docker; Ctrl-C ends them
	@setup/demo.sh

check: ## formatting, lints, unit tests, rules, routes: all that needs no Docker
	@setup/test.sh check

test: ## check, then the whole stack up and the end-to-end tests against it
	@setup/test.sh all

env: ## print the variables for docker compose: eval "$$(make -s env)"
	@setup/env.sh

secrets: ## write the secret files that are missing
	@setup/secrets.sh

fmt: ## format the Rust code
	@cargo fmt --all
