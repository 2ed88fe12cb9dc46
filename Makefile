# The kit's verbs. Variables after them reach the scripts, and Compose: make up THRESHOLDS=ecommerce PROMETHEUS_PORT=9190
# Each recipe is a script in setup/, readable and usable on its own.
.DEFAULT_GOAL := help
# `make -j setup up` still means one after the other.
.NOTPARALLEL:
.PHONY: help setup up down reset ps logs doctor story backup restore demo load evaluate drill chaos panels export check test test-logstash bench soak capacity bench-logs bench-dashboards kubernetes prices upgrade audit env secrets fmt

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { gsub(/\$$\$$/, "$$", $$2); printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

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

doctor: ## what is wrong here and what to do: engine, ports, memory, disk, settings, passwords of old volumes
	@setup/doctor.sh

story: ## all that is known of one request: its lines, spans, tokens and cost (REQUEST=id of a request or trace)
	@setup/story.sh "$(REQUEST)"

backup: ## copy all data of the stack, and the passwords it knows, into a folder (OUT=backups/<time>)
	@setup/backup.sh save $(OUT)

restore: ## put a backup in place of what is there, after asking (FROM=folder; YES=1: without)
	@setup/backup.sh restore $(FROM)

demo: ## agent, simulators and traffic as plain processes, without Docker; Ctrl-C ends them
	@setup/demo.sh

load: ## load-test the agent (RATE=50 or CALLERS=20 or STAGES=30s:200,1m:200; DURATION=1m P95=2s ERRORS=1%)
	@setup/load.sh $(if $(RATE),--rate $(RATE)) $(if $(CALLERS),--callers $(CALLERS)) $(if $(STAGES),--stages $(STAGES)) \
	  $(if $(DURATION),--duration $(DURATION)) $(if $(FRESH),--fresh $(FRESH)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(P50),--p50 $(P50)) $(if $(P95),--p95 $(P95)) $(if $(P99),--p99 $(P99)) $(if $(ERRORS),--errors $(ERRORS))

evaluate: ## ask the agent questions with known answers, and push the share of right ones to the Pushgateway; for cron, every day
	@setup/evaluate.sh

drill: ## break something on purpose, follow its alert to Slack and mail and back (SCENARIO=all FAST=1; without: the list)
	@setup/drill.sh $(or $(SCENARIO),list) $(if $(filter 1,$(FAST)),--fast) $(if $(filter told,$(UNTIL)),--until-told)

chaos: ## break each part under load, and count what users see and what is lost (FAULT=kill SERVICE=jaeger QUICK=1 REF=v1; LIST=1: the list)
	@setup/chaos.sh $(if $(filter 1,$(LIST)),list) $(if $(FAULT),--fault $(FAULT)) $(if $(SERVICE),--service $(SERVICE)) $(if $(filter 1,$(QUICK)),--quick) \
	  $(if $(REF),--reference $(REF))

panels: ## ask every query of every dashboard, and print what came back (AFTER_DRILLS=1: of the last hour; then none may be empty)
	@setup/panels.sh $(if $(filter 1,$(AFTER_DRILLS)),--last 1h --after-drills)

export: ## one component for infrastructure of yours, in your names (PART=prometheus OUT=folder; METRICS= LABELS= … MAP= AGAINST=: docs/adopting.md)
	@setup/export.sh --part "$(PART)" $(if $(OUT),--out "$(OUT)") $(if $(MAP),--map "$(MAP)") $(if $(METRICS),--metrics "$(METRICS)") \
	  $(if $(LABELS),--labels "$(LABELS)") $(if $(JOBS),--jobs "$(JOBS)") $(if $(SERVICES),--services "$(SERVICES)") \
	  $(if $(DATASOURCES),--datasources "$(DATASOURCES)") $(if $(URLS),--urls "$(URLS)") $(if $(FOLDER),--folder "$(FOLDER)") \
	  $(if $(THRESHOLDS),--thresholds "$(THRESHOLDS)") $(if $(AGAINST),--against "$(AGAINST)")

check: ## formatting, lints, unit tests, rules, routes: all that needs no Docker
	@setup/test.sh check

test: ## check, then the whole stack up and the end-to-end tests against it
	@setup/test.sh all

bench: ## what the agent's telemetry costs, beside Python, and what disturbs it (about 5 minutes)
	@setup/bench.sh run

soak: ## load while collector and log reader come and go: memory, waiting, losses (MINUTES=30)
	@setup/bench.sh soak --time $(or $(MINUTES),30)m

capacity: ## how much the agent and the stack hold here, and how what they take grows (a quarter of an hour; better with wrk installed)
	@eval "$$(setup/env.sh)" && setup/capacity.sh

test-logstash: ## the pipelines' cases, and that no line is lost, by a real Logstash (LOGSTASH_HOME, or its image)
	@eval "$$(setup/env.sh)" && LOGSTASH_ACCOUNTING=1 cargo test --locked -p stack-tests --test logstash

bench-logs: ## measure lines a second, processor time a line and how soon a line is found, by a real Logstash
	@eval "$$(setup/env.sh)" && cargo run --quiet --locked -p stack-tests --bin bench-logs

bench-dashboards: ## what the overview's queries take where there are 1,000 tenants, back-filled for 6 hours (about 5 minutes)
	@eval "$$(setup/env.sh)" && cargo run --quiet --locked --release -p stack-tests --bin bench-dashboards

kubernetes: ## write what deploy/kubernetes has of the rules, limits, dashboards, config files and versions
	@cargo run --quiet --locked -p stack-tests --bin kubernetes -- write

prices: ## bring the catalogue of list prices up to date from genai-prices, and say what changed
	@setup/prices.sh

upgrade: ## bring an image to a newer version, run the checks, say what changed (IMAGE=prometheus VERSION=3.14.0; WITH=test: all tests)
	@setup/upgrade.sh "$(IMAGE)" "$(VERSION)" $(WITH)

env: ## print the variables for docker compose: eval "$$(make -s env)"
	@setup/env.sh

audit: ## known vulnerabilities in what the crates bring in (fetches the list of advisories; needs cargo-deny)
	@eval "$$(setup/env.sh)" && cargo deny --all-features check advisories

secrets: ## write the secret files that are missing
	@setup/secrets.sh

fmt: ## format the Rust code
	@cargo fmt --all
