# eximgrey: targets for people. `make demo` and `make test` set up what they need by themselves.

PREFIX ?= /usr
DESTDIR ?=
EXIM_USER ?= Debian-exim
CARGO ?= cargo
# Where zsh looks for completions of packages: vendor-completions on Debian, site-functions on Fedora.
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/vendor-completions

target = $(or $(CARGO_TARGET_DIR),target)
library = $(target)/library/libeximgrey.so
# VERSION= gives the installed file another version than that of Cargo.toml.
version = $(or $(VERSION),$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml))
command = $(target)/release/eximgrey
share = $(DESTDIR)$(PREFIX)/share
third_party = $(target)/THIRD-PARTY
conf = $(share)/eximgrey/exim-conf
etc = $(DESTDIR)/etc/eximgrey

# No path of the machine that builds gets into the library: two builds of one source are the same bytes. -fno-plt: less to look
# up for the dynamic loader, and a page less to touch.
cargo_home = $(or $(CARGO_HOME),$(HOME)/.cargo)
as_shipped = RUSTFLAGS='$(RUSTFLAGS) --remap-path-prefix=$(cargo_home)=cargo --remap-path-prefix=$(CURDIR)=eximgrey' \
    CFLAGS='$(CFLAGS) -fno-plt -ffile-prefix-map=$(cargo_home)=cargo'

.PHONY: help build setup setup-deb setup-rpm setup-dist setup-clean-systems demo test check bench bench-many bench-exim bench-scale bench-beside bench-report bench-replay report-picture senders pools learning bindings install uninstall clean
.PHONY: deb rpm dist test-dist test-install test-moving test-postfix-probe test-exims test-senders torture torture-damage torture-calls torture-kills torture-power torture-memory torture-flood fuzz check-reproducible

help:
	@echo 'make demo      set up, build, and show greylisting in a real Exim on a loopback port'
	@echo 'make test      set up, build, and run all tests (as root: they start Exim)'
	@echo 'make build     the library and the command, optimised'
	@echo 'make install   [DESTDIR=] [PREFIX=/usr] [EXIM_USER=Debian-exim]'
	@echo 'make uninstall what install put there, but the store and the configuration'
	@echo 'make deb       the Debian package, in target/packages; make rpm: the one for Fedora and EPEL'
	@echo 'make dist      the source with all crates, to be built without a network, in target/packages; make test-dist tries it'
	@echo 'make test-install      install, upgrade, remove and purge the Debian package in a clean system'
	@echo 'make test-postfix-probe  a real Postfix that verifies senders takes our mail at once (as root)'
	@echo 'make test-moving       the steps of docs/moving.md with greylistd (as root)'
	@echo 'make test-exims        the real-Exim tests and test-install in Debian 11, 12, 13 and sid: docs/exims.md (SUITE=sid: one)'
	@echo 'make test-senders      real mail servers of Debian send to it; SENDERS="postfix nullmailer": only these'
	@echo 'make torture           all campaigns: docs/reliability.md'
	@echo 'make torture-damage    a thousand damaged stores: a few processes die, mail passes, a repair mends them'
	@echo 'make torture-kills     ten thousand processes killed at any moment: no pass is lost, none is counted twice'
	@echo 'make torture-calls     each system call of a decision fails with each error: there is an answer, and the store is whole'
	@echo 'make torture-power     two thousand power cuts: the store is whole, and what was flushed is there'
	@echo 'make torture-memory    the library with AddressSanitizer'
	@echo 'make fuzz              a hundred million inputs for what reads the bytes of others'
	@echo 'make torture-flood     millions of hostile attempts in tables that are full: every honest retry passes'
	@echo 'make check-reproducible   build the library in two directories and compare'
	@echo 'make check     formatting, lints, documentation, tests, the library as built'
	@echo 'make bench     decision times; make senders: scores of the sender normaliser'
	@echo 'make bench-many  many processes ask at once, on this disk and a slow one (as root)'
	@echo 'make bench-exim  eximgrey and its peers in live Exim daemons: docs/performance.md (as root)'
	@echo 'make bench-scale  decisions, room, memory and purge in stores of up to 10,000,000 triplets'
	@echo 'make bench-beside what listings and watching cost those who decide meanwhile, in a store of a million records'
	@echo 'make bench-report  time and memory of eximgrey report on a million records; make report-picture: docs/report.png'
	@echo 'make bench-replay lines of a log that eximgrey replay reads in a second, on one core'
	@echo 'make pools     what greylisting costs sending pools, here and with postgrey and greylistd'
	@echo 'make learning  what learning which first attempts come back comes to, with labelled traffic: docs/learning.md'
	@echo 'make bindings  write src/ffi/bindings anew from Exim'"'"'s header; make completions: completions/'
	@echo 'make deny      licences, sources and known weaknesses of the dependencies (needs cargo-deny)'
	@echo 'make minimal-versions: build and test with the oldest dependencies that Cargo.toml allows'

build:
	$(as_shipped) $(CARGO) build --release --locked --bin eximgrey
	$(as_shipped) $(CARGO) rustc --profile library --locked --lib --no-default-features --crate-type cdylib

setup:
	@scripts/setup

setup-deb setup-rpm setup-dist setup-clean-systems:
	@scripts/setup $(@:setup-%=%)

# What the licences of others ask for, in packages.
$(third_party): Cargo.lock packaging/third-party
	packaging/third-party > $@

# VERSION= builds it with another version than that of Cargo.toml.
deb: setup-deb build $(third_party)
	scripts/build-deb $(VERSION)

# Of the last commit.
dist: setup-dist
	scripts/dist

# It builds everything anew; nothing of it reaches a network.
test-dist: setup-deb dist
	scripts/test-dist $(target)/packages/eximgrey-$(version).tar.xz

# An upgrade is from the same under a lower version. The clean system is downloaded once.
test-install: deb setup-clean-systems
	scripts/build-deb 0.0.9~test $(target)/test-install
	scripts/test-install $(target)/test-install/eximgrey_*.deb $(target)/packages/eximgrey_*.deb

test-moving: setup
	scripts/setup greylistd
	$(CARGO) test --locked --test exim moving -- --ignored

# The system with Postfix is downloaded once.
test-postfix-probe: setup setup-clean-systems build
	scripts/test-postfix-probe $(library)

# SUITE=sid: in that one only. RING=1: without the package. WRITE=1: write docs/exims.md.
test-exims: setup setup-clean-systems
	scripts/test-exims $(if $(RING),--ring) $(SUITE)

# Each sender is installed in a clean system, which is downloaded once. WRITE=1 writes docs/real-senders.md.
test-senders: setup-clean-systems build
	scripts/test-senders

# All campaigns. WRITE=1 writes docs/reliability.md.
torture:
	scripts/torture

# The tests do the same to a few.
torture-damage: setup
	EXIMGREY_DAMAGED_STORES=1000 $(CARGO) test --locked --test store_processes damage:: -- --nocapture
	EXIMGREY_DAMAGES=1000 $(CARGO) test --locked --test cli randomly -- --nocapture

# Each error for each call; the tests take one for each.
torture-calls: setup
	EXIMGREY_ALL_CALLS=1 $(CARGO) test --locked --test store_processes failing:: -- --nocapture

# The tests make a few.
torture-power: setup
	EXIMGREY_POWER_CUTS=2000 $(CARGO) test --locked --test store_processes power:: -- --nocapture

# The library and LMDB with AddressSanitizer, in a C program that has it, too; then a real Exim under valgrind. Left out are what reads the library's own
# mapping, which has gaps for the sanitizer, what counts the library's symbols, damaged stores, which crash LMDB, and panics, whose unwinding leaves the
# sanitizer's marks on the stack.
asan = $(target)/asan/$(shell rustc -vV | sed -n 's/^host: //p')/library/libeximgrey.so
torture-memory: setup
	RUSTC_BOOTSTRAP=1 CFLAGS='-fsanitize=address -g -O1' RUSTFLAGS='-Zsanitizer=address' $(CARGO) rustc --profile library \
	    --locked --lib --no-default-features --crate-type cdylib --target-dir $(target)/asan \
	    --target $$(rustc -vV | sed -n 's/^host: //p')
	nm -D $(asan) | grep -q __asan_init
	EXIMGREY_TESTED_LIBRARY=$(abspath $(asan)) EXIMGREY_DRIVER_CFLAGS=-fsanitize=address ASAN_OPTIONS=detect_leaks=0 \
	    $(CARGO) test --locked --test abi --test store_processes -- --skip preload --skip no_argument_gets --skip nothing_is_needed \
	    --skip generations:: --skip valgrind --skip damage:: --skip a_panic_is_answered
	$(CARGO) test --locked --test exim -- --ignored valgrind
	@echo 'campaign: AddressSanitizer and valgrind found nothing'

# A hundred million inputs. PERCENT=1: fewer.
fuzz: setup
	scripts/fuzz $(PERCENT)

# The tests kill some.
torture-kills: setup
	EXIMGREY_KILLS=10000 $(CARGO) test --locked --test store_processes storm:: -- --nocapture

# Floods of up to five million hostile attempts each.
torture-flood: setup
	EXIMGREY_FLOOD=315 $(CARGO) test --locked --release --lib store::tests::full -- --nocapture --test-threads 2 >$(target)/floods.log 2>&1 \
	    || { cat $(target)/floods.log; exit 1; }
	@awk '$$1 == "campaign:" { floods++; most = $$2 > most ? $$2 : most; came += $$10; passed += $$13; lost += $$17 } \
	    END { print "campaign: " floods " floods of up to " most " hostile attempts: of the honest mail meanwhile " \
	        came " came back and passed, " passed " passed at once, " lost " were lost"; exit !floods }' $(target)/floods.log

rpm: setup-rpm build $(third_party)
	scripts/build-rpm $(VERSION)

check-reproducible:
	scripts/check-reproducible

demo: setup build
	@scripts/demo

test: setup
	$(CARGO) test --locked
	$(MAKE) build
	scripts/check-library $(library)

check: setup
	scripts/check-release
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	$(MAKE) test

bench: build
	$(as_shipped) $(CARGO) bench --locked --bench decision --bench sender --bench stages --bench first -- --noplot

bench-many: build
	$(as_shipped) $(CARGO) bench --locked --bench many

bench-exim: build
	@scripts/setup-peers
	$(as_shipped) $(CARGO) bench --locked --bench exim -- --write

bench-scale:
	$(as_shipped) $(CARGO) bench --locked --bench scale -- $(if $(LEAST),--least $(LEAST)) $(if $(MOST),--most $(MOST)) $(if $(WRITE),--write)

bench-beside:
	$(as_shipped) $(CARGO) bench --locked --bench beside

bench-report:
	$(as_shipped) $(CARGO) bench --locked --bench report

bench-replay:
	$(as_shipped) $(CARGO) bench --locked --bench replay

report-picture: setup
	scripts/report-picture

senders:
	$(CARGO) run --locked --release --example senders

pools:
	$(CARGO) run --locked --release --example pools

learning:
	$(CARGO) run --locked --release --example learning

bindings: setup
	EXIMGREY_WRITE_BINDINGS=1 $(CARGO) test --locked --test bindings

.PHONY: completions deny minimal-versions
completions:
	EXIMGREY_WRITE_COMPLETIONS=1 $(CARGO) test --locked --bin eximgrey completions

deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo 'make deny: cargo-deny is missing: cargo install --locked cargo-deny' >&2; exit 1; }
	$(CARGO) deny --locked check licenses bans sources
	$(CARGO) deny --locked check advisories

minimal-versions:
	scripts/minimal-versions

# The library gets a name with its version, and the known name becomes a link to it. Both are put in place by a rename:
# a process that finds the library finds a whole one, and who has mapped the old one keeps it.
link = $(DESTDIR)$(PREFIX)/lib/exim4/eximgrey.so
installed = $(link:.so=-$(version).so)

# The store belongs to Exim's user; it is made here only when we install into the running system.
install:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/exim4 $(conf)/debian/conf.d/main $(conf)/recipes
	install -m 0755 $(command) $(DESTDIR)$(PREFIX)/bin/eximgrey
	install -m 0644 $(library) $(installed).new
	mv -f $(installed).new $(installed)
	ln -sf $(notdir $(installed)) $(link).new
	mv -fT $(link).new $(link)
	rm -f $(filter-out $(installed),$(wildcard $(link:.so=-[0-9]*.so)))
	install -m 0644 exim-conf/*.conf exim-conf/README.md $(conf)
	install -m 0644 exim-conf/recipes/* $(conf)/recipes
	install -D -m 0644 -t $(share)/eximgrey/schemas docs/schemas/*.json
	install -m 0644 exim-conf/debian/exim4.conf.localmacros $(conf)/debian
	install -m 0644 exim-conf/debian/conf.d/main/00_eximgrey $(conf)/debian/conf.d/main
	install -d $(etc) $(share)/doc/eximgrey
	[ -e $(etc)/eximgrey.toml ] || install -m 0644 packaging/eximgrey.toml $(etc)
	install -D -m 0644 -t $(share)/doc/eximgrey/examples examples/*.json
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/lib/systemd/system packaging/systemd/*
	install -m 0644 README.md CHANGELOG.md docs/*.md $(wildcard $(third_party)) $(share)/doc/eximgrey
	install -m 0644 packaging/debian/eximgrey.logcheck.ignore.server $(share)/doc/eximgrey/eximgrey.logcheck
	for page in $(wildcard man/*.[1-8]); do install -D -m 0644 -t $(share)/man/man$${page##*.} $$page; done
	$(if $(wildcard completions/eximgrey.bash),install -D -m 0644 completions/eximgrey.bash $(share)/bash-completion/completions/eximgrey)
	$(if $(wildcard completions/_eximgrey),install -D -m 0644 -t $(DESTDIR)$(ZSH_COMPLETIONS) completions/_eximgrey)
	$(if $(wildcard completions/eximgrey.fish),install -D -m 0644 -t $(share)/fish/vendor_completions.d completions/eximgrey.fish)
	@if [ -n "$(DESTDIR)" ]; then echo 'The package makes /var/lib/eximgrey, owned by the Exim user, mode 0750.'; \
	elif id $(EXIM_USER) >/dev/null 2>&1; then \
	    install -d -o $(EXIM_USER) -g $$(id -gn $(EXIM_USER)) -m 0750 /var/lib/eximgrey; \
	else echo 'There is no user $(EXIM_USER): make /var/lib/eximgrey, owned by the Exim user, mode 0750.'; fi
	@[ -n "$(DESTDIR)" ] || echo 'If Exim runs with an older library, reload it. Then: eximgrey doctor'

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/eximgrey $(link) $(link:.so=-[0-9]*.so)
	rm -rf $(share)/eximgrey $(share)/doc/eximgrey
	rm -f $(DESTDIR)$(PREFIX)/lib/systemd/system/eximgrey-metrics.*
	rm -f $(share)/man/man[1-8]/eximgrey.* $(share)/bash-completion/completions/eximgrey
	rm -f $(DESTDIR)$(ZSH_COMPLETIONS)/_eximgrey $(share)/fish/vendor_completions.d/eximgrey.fish

clean:
	$(CARGO) clean
