# `make help` lists the targets.
.DEFAULT_GOAL := help
export CGO_ENABLED = 0
GO ?= go

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## install the Debian packages that tests, demo and benchmarks use
	@hack/deps.sh

.PHONY: build
build: ## static binaries in bin/
	$(GO) build -trimpath -o bin/ ./cmd/...
	@ln -sf waymark bin/kubectl-waymark
	$(GO) build -trimpath -o bin/gobgp github.com/osrg/gobgp/v4/cmd/gobgp

# Programs that tests and the generator need and that Debian has not: a real control plane, controller-gen, helm.
KUBE_TOOLS := kube-apiserver kube-controller-manager kubectl
bin/kube/.built: hack/tools/go.mod
	cd hack/tools && $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/kube/ $(KUBE_TOOLS:%=k8s.io/kubernetes/cmd/%)
	cd hack/tools && $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/kube/ helm.sh/helm/v3/cmd/helm sigs.k8s.io/controller-tools/cmd/controller-gen
	@touch $@

.PHONY: tools
tools: bin/kube/.built ## a Kubernetes control plane, kubectl, helm and controller-gen in bin/kube/, five minutes the first time

# What a registry's tests run: a module of its own, so that Waymark's has nothing of dubbo-go.
bin/dubbo/.built: $(wildcard e2e/dubbo/go.* e2e/dubbo/*/*.go)
	cd e2e/dubbo && $(GO) build -trimpath -ldflags '-s -w' -o ../../bin/dubbo/ ./provider ./consumer
	@touch $@

.PHONY: dubbo
dubbo: bin/dubbo/.built ## a Dubbo provider and consumer in bin/dubbo/, half a minute the first time

.PHONY: generate
generate: tools ## deep copies and CustomResourceDefinitions from api/v1alpha1
	bin/kube/controller-gen object paths=./api/... crd output:crd:dir=manifests/crds

.PHONY: test
test: deps tools build dubbo verify ## everything: pure packages, adapters in namespaces, interoperation, stories
	CGO_ENABLED=1 $(GO) list -race -test -export ./... >/dev/null # compiles: the daemons of the tests need the processors
	$(RACE) -p 3 $$($(GO) list $(LONG) ./... | grep -Ev '/($(QUIET)|e2e)(/|$$)')
	@$(MAKE) --no-print-directory -j 3 -O test-egress test-stories test-quiet

RACE = CGO_ENABLED=1 $(GO) test -race -vet=off -ldflags '-s -w' -timeout 20m

# What takes longest begins first, and others go on beside it.
LONG := ./nat/iptables ./bgp/gobgp ./nat/... ./manifests ./controller

# Tests that count packets or milliseconds, and the stories, which wait most of the time, have three processes at a time, and
# nothing that compiles beside them.
QUIET := bfd|demo|route
EGRESS := ^Test(Egress|Soak)
OUTSIDE := ^Test(Registry|GeneratedRouter|Session|DeadPath)

.PHONY: test-egress test-stories test-quiet
test-egress:
	$(RACE) -run '$(EGRESS)' ./e2e
test-stories:
	$(RACE) -skip '$(EGRESS)|$(OUTSIDE)' ./e2e
test-quiet:
	$(RACE) -run '$(OUTSIDE)' ./e2e
	$(RACE) -p 1 $$($(GO) list ./... | grep -E '/($(QUIET))(/|$$)')

.PHONY: soak
soak: build ## random kills, drains, edits and others' rules for 20 minutes; SOAK='-soak 1h -seed 7' is another
	@hack/deps.sh
	$(GO) test -count=1 -v -timeout 0 -run '^TestSoak$$' ./e2e -args $(or $(SOAK),-soak 20m)

FUZZTIME ?= 20s

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME
	@git grep -o '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' | while IFS=': ' read -r file _ name; do \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file) || exit 1; \
	done

.PHONY: verify
verify: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "not gofmt clean: $$unformatted"; exit 1; }
	GOFLAGS="$$GOFLAGS -trimpath" $(GO) vet ./... # the flags of the build, whose packages are then compiled already
	GOFLAGS="$$GOFLAGS -trimpath" $(GO) tool staticcheck ./...
	cd e2e/dubbo && GOFLAGS="$$GOFLAGS -trimpath" $(GO) vet ./...
	@$(MAKE) --no-print-directory generate && git diff --exit-code --stat -- api manifests/crds || { echo "not generated anew: run make generate"; exit 1; }

.PHONY: bench
bench: build ## the agent against the kernel, BIRD and FRR; BENCH='-runs 1' is quicker
	@hack/deps.sh
	@$(GO) build -trimpath -o bin/bench ./hack/bench
	@bin/bench $(BENCH)

.PHONY: bench-scale
bench-scale: tools build ## 5,000 nodes, 100,000 pods, 300 agents: 35 minutes; BENCH='-only agent,controller -nodes 1000 -pods 10000' is less
	@hack/deps.sh
	@$(GO) build -o bin/bench-scale ./hack/benchscale # not -trimpath: by the path of its source it finds bin/kube
	@bin/bench-scale $(BENCH)

.PHONY: demo
demo: $(if $(CLUSTER),tools) build ## a virtual datacenter in network namespaces; CLUSTER=1: on a real control plane; KEEP=1 leaves it up
	@hack/deps.sh demo$(if $(CLUSTER),-cluster)
	@$(GO) build -trimpath -o bin/demo ./hack/demo
	@bin/demo run $(if $(CLUSTER),-cluster) $(if $(KEEP),-keep)

.PHONY: demo-down
demo-down: ## remove every trace of the demo
	@$(GO) build -trimpath -o bin/demo ./hack/demo
	@bin/demo down
