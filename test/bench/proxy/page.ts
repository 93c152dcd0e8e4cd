import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { IDLE_ROWS } from "./idle.ts";
import { growthText } from "./print.ts";
import { PEERS } from "./install-peers.ts";
import type { BenchOptions } from "./options.ts";
import { markdownTable as table } from "./markdown.ts";
import { isBerth } from "./proxies.ts";
import { comparePasses, costRatio, type Results } from "./results.ts";
import { boundText, TARGETS, targetText } from "./targets.ts";
import type { Workload } from "./workloads.ts";

/** The page of figures. It bears no date: a run that finds the same writes the same. */
export function figuresPage(results: Results, workloads: readonly Workload[], options: BenchOptions, load: number): string {
  const measured = workloads.filter(({ name }) => results.cells.has(name));
  const names = [...new Set(measured.flatMap(({ name }) => [...(results.cells.get(name)?.keys() ?? [])]))];
  const berths = names.filter(isBerth);
  return [
    "# Figures of the gateway",
    "",
    "This page is for operators. `npm run bench:proxy` writes it: what a request costs at berth's edge and at its peers, in one run on one machine. The",
    "proxy has core 0 for itself; load, containers and a double of the control plane share the other core. Every proxy does the same work: it looks up",
    "one of 1,000 keys and one of 1,000 containers, removes the route's prefix, and adds the forwarded headers and the caller's token",
    "(configurable-http-proxy has no keys, so its figures are without them). Cost is user and system processor time of all processes of the proxy; on a",
    "shared machine only that and its ratios are meaningful. A ratio is the median of the ratios of each pass. Memory is resident memory.",
    "",
    "![Processor time per request, per message and per GiB](figures.svg)",
    "",
    `- Machine: ${cpus().length} cores of ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB; load before the run ${load.toFixed(1)}`,
    `- Versions: ${versions().join(", ")}`,
    `- ${options.passes > 1 ? `Medians of ${options.passes} interleaved passes` : "One pass"} of ${options.seconds} s; long bodies have ${options.streamMb} MiB; memory is the maximum of any pass`,
    "- wrk and WebSockets: up to eight proxies have turns of 0.3 s, each load with its connections open and stopped in between, so that others' work on the machine meets all alike. Cost is the median of eight turns in each pass, by the answers that the containers count; a ratio is the median of those of each round. Times of answers, and answers per second, are of a second without turns before it",
    "- Other loads run one after another and warm up by themselves",
    "- In `get` and `get10k`, 900 containers share one address. berth never uses a connection of one container for another, so it keeps one for each of them, 900; its peers keep those of one address together, and have 64. More connections cost more for each request: `get64` has only 64 containers, and the rows with `pools` have an upstream, and so connections, for each container. nginx searches its upstreams one after another, which is a part of the cost of those rows",
    `- \`berth\` uses Node's sockets and \`berth, ffi\` those of \`BERTH_SOCKETS=ffi\`. A process serves all connections${results.workers.size > 0 ? "; [two workers](#two-workers) are below" : ""}`,
    "- Access logs are off, except in the rows with `log`: those write a line of JSON, or of their own format (HAProxy), for each request to `/dev/null`: nginx through a buffer of 64 KiB, HAProxy and Caddy by default, berth outside of its event loop. berth counts for its metrics in any case, Caddy in its row with `log`",
    "- `get-h2` is HTTP/2 over TLS on 8 connections with 8 streams each, by h2load",
    ...[...results.left].map(([name, why]) => `- Left out: ${name}: ${why.split("\n")[0]}`),
    "",
    "## Targets",
    "",
    ...table(
      ["target", "floor", "goal", ...berths],
      TARGETS.map((target) => [
        target.says,
        boundText(target.floor, target),
        boundText(target.goal, target),
        ...berths.map((berth) => targetText(target, results, berth)),
      ]),
    ),
    "",
    "## Processor time",
    "",
    "Microseconds per request, message or event; seconds per GiB for `up`, `upchunked` and `down`. In brackets × nginx.",
    "",
    ...table(
      ["", ...measured.map(({ name }) => name)],
      names.filter((name) => name !== "direct").map((name) => [name, ...measured.map((workload) => costCell(results, workload, name))]),
    ),
    "",
    ...measured.map(({ name, says }) => `- \`${name}\`: ${says}`),
    "",
    ...measured.flatMap((workload) => detail(results, workload)),
    ...idleSection(results),
    ...serveSection(results),
    ...growthSection(results),
    ...workersSection(results),
  ].join("\n");
}

function costCell(results: Results, workload: Workload, name: string): string {
  const cell = results.cells.get(workload.name)?.get(name);
  if (cell === undefined) return "";
  if ("failed" in cell) return "failed";
  const ratio = results.ratio(workload.name, name, workload.named ? "nginx, h2" : "nginx");
  return `${costText(workload, cell.cpuUs)}${ratio === undefined ? "" : ` (${ratio.toFixed(2)})`}`;
}

function costText({ unit }: Workload, cpuUs: number): string {
  return unit === "GiB" ? (cpuUs / 1e6).toFixed(2) : cpuUs.toFixed(1);
}

function detail(results: Results, workload: Workload): string[] {
  const long = workload.unit === "GiB";
  const cells = [...(results.cells.get(workload.name) ?? [])];
  const ms = (us: number | undefined) => (us === undefined ? "" : (us / 1_000).toFixed(2));
  return [
    `### ${workload.name}: ${workload.says}`,
    "",
    ...table(
      ["", long ? "CPU s/GiB" : "CPU µs", "× nginx-lua", long ? "GiB/s" : "per s", "p50 ms", "p99 ms", "memory MB", "grown MB"],
      cells.map(([name, cell]) => {
        if ("failed" in cell) return [name, `failed: ${cell.failed.split("\n")[0]?.replaceAll("|", "/")}`, "", "", "", "", "", ""];
        const own =
          name === "direct" ? ["", ""] : [costText(workload, cell.cpuUs), results.ratio(workload.name, name, "nginx-lua")?.toFixed(2) ?? ""];
        const memory = name === "direct" ? ["", ""] : [cell.rssMb.toFixed(0), cell.grownMb.toFixed(0)];
        return [name, ...own, cell.perSecond.toFixed(long ? 2 : 0), ms(cell.p50Us), ms(cell.p99Us), ...memory];
      }),
    ),
    "",
  ];
}

function idleSection({ idle }: Results): string[] {
  if (idle.length === 0) return [];
  return [
    "### idle: KiB of memory per open and silent connection",
    "",
    "Each connection has had one response. A WebSocket also has its connection to the container. Each figure is of a new process that has worked for two",
    "seconds and reuses the memory that this freed, so few connections show less than they cost, or nothing.",
    "",
    ...table(
      ["", "process MB", ...IDLE_ROWS],
      idle.map(({ name, rssMb, kib }) => [
        name,
        rssMb.toFixed(0),
        ...IDLE_ROWS.map((row) => {
          const value = kib[row];
          return typeof value === "number" ? value.toFixed(1) : "failed";
        }),
      ]),
    ),
    "",
  ];
}

function serveSection({ serve }: Results): string[] {
  if (serve === undefined) return [];
  return [
    "### Idle memory of berth serve",
    "",
    "`BERTH_DRIVER=process`, no containers, 30 s after a start from sources, not the first one. Proportional set size: pages that processes share count once.",
    "",
    ...table(["", "MiB"], [...serve.processes.map(({ role, mib }) => [role, mib.toFixed(1)]), ["all", serve.totalMib.toFixed(1)]]),
    "",
  ];
}

function growthSection({ growth }: Results): string[] {
  if (growth.length === 0) return [];
  return [
    "## As the world grows",
    "",
    "Microseconds of a small GET; in brackets × nginx in the same pass. Requests go to all containers and come from all callers in turn. berth keeps a",
    "connection for each container and nginx one pool for their common address, so many containers are many connections for berth alone. A gateway caches",
    "20,000 callers: with 100,000 in turn, it asks control for most of them. Before each pass, one load uses every key and container.",
    "",
    ...growth.flatMap(({ name, rows }) => {
      const proxies = [...(rows[0]?.cells.keys() ?? [])];
      return [
        ...table(
          [name, ...proxies],
          rows.map(({ size, cells }) => [String(size), ...proxies.map((proxy) => growthText(cells, proxy))]),
        ),
        "",
      ];
    }),
  ];
}

function workersSection({ workers }: Results): string[] {
  if (workers.size === 0) return [];
  return [
    "## Two workers",
    "",
    "`get` where the proxy may use both cores, which the load and the container use as well. Requests per second say what the whole machine does, load and",
    "container included: they are no measure of what a worker with a core of its own gains. CPU per request shows what a second worker costs.",
    "",
    ...table(
      ["", "CPU µs", "× nginx, 1 worker", "per s", "p99 ms"],
      [...workers].map(([name, cell]) => {
        if ("failed" in cell) return [name, "failed", "", "", ""];
        const ratio = comparePasses(cell, workers.get("nginx, 1 worker"), costRatio);
        return [name, cell.cpuUs.toFixed(1), ratio?.toFixed(2) ?? "", cell.perSecond.toFixed(0), ((cell.p99Us ?? 0) / 1_000).toFixed(2)];
      }),
    ),
    "",
  ];
}

function versions(): string[] {
  const versionOf = (argv: [string, ...string[]], pattern: RegExp) => {
    try {
      const [program, ...more] = argv;
      const options = { encoding: "utf8", env: { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` } } as const;
      return pattern.exec(execFileSync("sh", ["-c", `${[program, ...more].join(" ")} 2>&1`], options))?.[1];
    } catch {
      return undefined;
    }
  };
  const programs = {
    nginx: versionOf(["nginx", "-v"], /nginx\/(\S+)/),
    HAProxy: versionOf(["haproxy", "-v"], /version (\d[\d.]*)/),
    Caddy: versionOf(["caddy", "version"], /^v?(\d[\d.]*)/),
    h2load: versionOf(["h2load", "--version"], /nghttp2\/(\S+)/),
  };
  const peers = (JSON.parse(readFileSync(join(PEERS, "package.json"), "utf8")) as { dependencies: Record<string, string> }).dependencies;
  return [
    `Node ${process.versions.node}`,
    ...Object.entries(programs).flatMap(([name, version]) => (version === undefined ? [] : [`${name} ${version}`])),
    ...Object.entries(peers).map(([name, version]) => `${name} ${version}`),
  ];
}
