# eximgrey: targets for people. `make demo` and `make test` set up what they need by themselves.

PREFIX ?= /usr
DESTDIR ?=
EXIM_USER ?= Debian-exim
CARGO ?= cargo

library = target/release/libeximgrey.so
command = target/release/eximgrey
conf = $(DESTDIR)$(PREFIX)/share/eximgrey/exim-conf

.PHONY: help build setup demo test check bench bench-scale bench-exim senders pools bindings install uninstall clean

help:
	@echo 'make demo      set up, build, and show greylisting in a real Exim on a loopback port'
	@echo 'make test      set up, build, and run all tests (as root: they start Exim)'
	@echo 'make build     the library and the command, optimised'
	@echo 'make install   [DESTDIR=] [PREFIX=/usr] [EXIM_USER=Debian-exim]'
	@echo 'make uninstall what install put there, but the store'
	@echo 'make check     formatting, lints, documentation, tests, the library as built'
	@echo 'make bench     decision times; make senders: scores of the sender normaliser'
	@echo 'make bench-scale  decisions, room, memory and purge in stores of up to 10,000,000 triplets'
	@echo 'make bench-exim  eximgrey and its peers in live Exim daemons: docs/performance.md (as root)'
	@echo 'make pools     what greylisting costs sending pools, here and with postgrey and greylistd'
	@echo 'make bindings  write src/ffi/bindings.rs anew from Exim'"'"'s header; make completions: completions/'
	@echo 'make deny      licences, sources and known weaknesses of the dependencies (needs cargo-deny)'
	@echo 'make minimal-versions: build and test with the oldest dependencies that Cargo.toml allows'

build:
	$(CARGO) build --release --locked

setup:
	@scripts/setup

demo: setup build
	@scripts/demo

test: setup
	$(CARGO) test --locked
	$(CARGO) build --release --locked
	scripts/check-library $(library)

check: setup
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	$(MAKE) test

bench:
	$(CARGO) bench --locked --bench decision --bench sender --bench stages -- --noplot

bench-scale:
	$(CARGO) bench --locked --bench scale -- $(if $(MOST),--most $(MOST)) $(if $(WRITE),--write)

bench-exim:
	@scripts/setup-peers
	$(CARGO) build --release --locked
	$(CARGO) bench --locked --bench exim -- --write

senders:
	$(CARGO) run --locked --release --example senders

pools:
	$(CARGO) run --locked --release --example pools

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

# The store belongs to Exim's user; it is made here only when we install into the running system.
install:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/exim4 $(conf)/debian/conf.d/main $(conf)/recipes
	install -m 0755 $(command) $(DESTDIR)$(PREFIX)/bin/eximgrey
	install -m 0644 $(library) $(DESTDIR)$(PREFIX)/lib/exim4/eximgrey.so.new
	mv -f $(DESTDIR)$(PREFIX)/lib/exim4/eximgrey.so.new $(DESTDIR)$(PREFIX)/lib/exim4/eximgrey.so
	install -m 0644 exim-conf/*.conf exim-conf/README.md $(conf)
	install -m 0644 exim-conf/recipes/* $(conf)/recipes
	install -m 0644 exim-conf/debian/exim4.conf.localmacros $(conf)/debian
	install -m 0644 exim-conf/debian/conf.d/main/00_eximgrey $(conf)/debian/conf.d/main
	@if [ -n "$(DESTDIR)" ]; then echo 'The package makes /var/lib/eximgrey, owned by the Exim user, mode 0750.'; \
	elif id $(EXIM_USER) >/dev/null 2>&1; then \
	    install -d -o $(EXIM_USER) -g $$(id -gn $(EXIM_USER)) -m 0750 /var/lib/eximgrey; \
	else echo 'There is no user $(EXIM_USER): make /var/lib/eximgrey, owned by the Exim user, mode 0750.'; fi

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/eximgrey $(DESTDIR)$(PREFIX)/lib/exim4/eximgrey.so
	rm -rf $(DESTDIR)$(PREFIX)/share/eximgrey

clean:
	$(CARGO) clean
