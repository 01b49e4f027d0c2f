.PHONY: bench

# What a call costs in Penstock beside nginx, in one run. Settings: benches/README.md.
bench:
	@if ! command -v nginx >/dev/null 2>&1 && [ ! -x /usr/sbin/nginx ]; then \
		if [ -f /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
			echo "bench: nginx is missing; installing the Debian package nginx-light (which may start a server on port 80)"; \
			apt-get update -q && apt-get install -y -q --no-install-recommends nginx-light; \
		else \
			echo "bench: nginx is missing; install it (Debian: apt-get install nginx-light) and try again" >&2; \
			exit 1; \
		fi; \
	fi
	@command -v taskset >/dev/null 2>&1 || \
		echo "bench: taskset (util-linux) is missing; nothing is pinned to a core, figures vary more" >&2
	cargo build --release --bin penstock
	cargo bench --bench gateway
