import t from "tap";
import { readinessOfHealthcheck } from "../../lib/image-healthcheck.ts";

const http = (path: string, port: number) => ({ kind: "http", path, port, intervalMs: 30_000, timeoutMs: 30_000 });
const shell = (line: string) => readinessOfHealthcheck({ test: ["CMD-SHELL", line] });
const exec = (...words: string[]) => readinessOfHealthcheck({ test: ["CMD", ...words] });

t.test("an HTTP check of the container itself is a GET of its port", async (t) => {
  const lines: Record<string, object> = {
    "curl -f http://localhost:8000/health || exit 1": http("/health", 8000),
    "curl --fail http://localhost/": http("/", 80),
    "curl -fsS -o /dev/null http://127.0.0.1:5000/api/ping?deep=0": http("/api/ping?deep=0", 5000),
    "/usr/bin/curl -sf --max-time 3 'http://localhost:8080/ready' > /dev/null 2>&1 || exit 1": http("/ready", 8080),
    'curl --silent --fail --max-time=3 "http://[::1]:8080"': http("/", 8080),
    "curl -f localhost:8000/health||exit 1": http("/health", 8000),
    "curl -fm 3 http://0.0.0.0:8000/ || false": http("/", 8000),
    "wget -q --spider http://localhost:9000/healthz || exit 1": http("/healthz", 9000),
    "wget --no-verbose --tries=1 --spider http://localhost:9000/ || exit 1": http("/", 9000),
    "wget -qO- http://127.0.0.1:8888/api &>/dev/null": http("/api", 8888),
    "wget -q -T 3 -t 1 -O /dev/null http://localhost:9000/x >/dev/null": http("/x", 9000),
  };
  for (const [line, expected] of Object.entries(lines)) t.strictSame(shell(line), expected, line);
  t.strictSame(exec("curl", "-f", "http://localhost:8000/health"), http("/health", 8000));
  t.strictSame(exec("sh", "-c", "curl -f http://localhost:8000/health || exit 1"), http("/health", 8000));
  t.strictSame(exec("/bin/bash", "-ec", "wget -q --spider localhost:1/a"), http("/a", 1));
  t.strictSame(readinessOfHealthcheck({ test: ["CMD", "curl", "-f", "localhost"], intervalMs: 5_000, timeoutMs: 2_000 }), {
    ...http("/", 80),
    intervalMs: 5_000,
    timeoutMs: 2_000,
  });
});

t.test("what a GET cannot replace stays a check of its own kind", async (t) => {
  for (const line of [
    "",
    "pg_isready -U postgres",
    "curl http://localhost:8000/health",
    "curl -f https://localhost:8443/health",
    "curl -f http://example.com/health",
    "curl -f http://localhost.example.com/health",
    "curl -f http://user:secret@localhost/health",
    "curl -f -H 'X-Token: 1' http://localhost:8000/",
    "curl -f -X POST http://localhost:8000/",
    "curl -f -d a=b http://localhost:8000/",
    "curl -f --unix-socket /run/app.sock http://localhost/",
    "curl -f http://localhost:$PORT/health",
    "curl -f http://localhost:8000/ | grep ok",
    "curl -f http://localhost:8000/ && test -e /tmp/ready",
    "curl -f http://localhost:8000/; exit 0",
    "curl -f http://localhost:8000/ || exit 0 && true",
    "curl -f http://localhost:8000/a http://localhost:8000/b",
    "curl -f http://localhost:8000/ || true",
    "curl -f http://localhost:8000/ || exit 0",
    "test -e /tmp/ready && curl -f http://localhost:8000/",
    "curl -f `cat /url`",
    "curl -f 'http://localhost:8000/",
    `curl -f http://localhost:8000/${"x".repeat(5_000)}`,
  ])
    t.equal(shell(line), undefined, line.slice(0, 100));
  for (const test of [[], ["NONE"], ["CMD"], ["CMD-SHELL"], ["curl", "-f", "http://localhost"]])
    t.equal(readinessOfHealthcheck({ test }), undefined, test.join(" "));
});

t.test("a hostile line costs no more than its length", async (t) => {
  const began = performance.now();
  for (const line of [" ".repeat(4_000), `curl ${">&1 ".repeat(1_000)}x`, `curl ${"'' ".repeat(1_300)}`, "a".repeat(4_000), "> ".repeat(2_000)])
    t.equal(shell(line), undefined);
  t.ok(performance.now() - began < 500);
});
