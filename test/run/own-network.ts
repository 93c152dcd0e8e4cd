const DONE = "BERTH_TEST_OWN_NETWORK";

/**
 * Starts this very process anew in a network of its own that has nothing but loopback, and never returns; in there, it returns. So
 * the tests' engine meets no other engine's bridges and firewall rules, leaves none behind, and no test reaches the outside.
 * The process keeps its id, so that signals find it.
 */
export function enterOwnNetwork(): void {
  if (process.env[DONE] !== undefined) {
    delete process.env[DONE];
    return;
  }
  const env = { ...process.env, [DONE]: "1", PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };
  const script = 'ip link set lo up && exec "$0" "$@"';
  process.execve?.(
    "/usr/bin/unshare",
    ["unshare", "--net", "sh", "-c", script, process.execPath, "--disable-warning=ExperimentalWarning", ...process.argv.slice(1)],
    env,
  );
}
