import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { IDLE_ROWS } from "./idle.ts";
import { PEERS } from "./install-peers.ts";
import type { BenchOptions } from "./options.ts";
import type { Results } from "./results.ts";
import { bound, TARGETS, compareToTarget } from "./targets.ts";
import type { Workload } from "./workloads.ts";

/** The page of figures. It bears no date: a run that finds the same writes the same. */
export function figuresPage(results: Results, workloads: readonly Workload[], options: BenchOptions, load: number): string {
  const measured = workloads.filter(({ name }) => results.cells.has(name));
  const names = [...new Set(measured.flatMap(({ name }) => [...(results.cells.get(name)?.keys() ?? [])]))];
  const berths = names.filter((name) => name.startsWith("berth"));
  return [
    "# Figures of the gateway",
    "",
    "This page is for operators. `npm run bench:proxy` writes it: what a request costs at berth's edge and at its peers, in one run on one machine. The",
    "proxy has core 0 for itself; load, containers and a double of the control plane share the other core. Every proxy does the same work: it looks up",
    "one of 1,000 keys and one of 1,000 containers, removes the route's prefix, and adds the forwarded headers and the caller's token",
    "(configurable-http-proxy has no keys, so its figures are without them). Cost is user and system processor time of all processes of the proxy; on a",
    "shared machine only that and its ratios are meaningful. Memory is resident memory.",
    "",
    "![Processor time per request, per message and per GiB](figures.svg)",
    "",
    `- Machine: ${cpus().length} cores of ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB; load before the run ${load.toFixed(1)}; processor time comes in ticks of 10 ms`,
    `- Versions: ${versions().join(", ")}`,
    `- ${options.passes > 1 ? `Medians of ${options.passes} interleaved passes` : "One pass"} of ${options.seconds} s; long bodies have ${options.streamMb} MiB; memory is the maximum of any pass`,
    "- A second before each pass of wrk is not counted: a proxy that was idle during the others' passes is slower at first; other loads warm up by themselves",
    "- In `get` and `get10k`, 900 containers share one address. berth never uses a connection of one container for another, so it keeps one for each of them, 900; its peers keep those of one address together, and have 64",
    "- Access logs are off everywhere, and no metrics are scraped; berth counts for them in any case. With logs: the last table",
    ...[...results.left].map(([name, why]) => `- Left out: ${name}: ${why.split("\n")[0]}`),
    "",
    "## Targets",
    "",
    ...table(
      ["target", "required", ...berths],
      TARGETS.map((target) => [
        target.says,
        bound(target),
        ...berths.map((berth) => {
          const value = target.measured(results, berth);
          return value === undefined ? "not measured" : `${value.toFixed(2)}: ${compareToTarget(target, value)}`;
        }),
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
  ].join("\n");
}

/** Where the table with access logs stands in the page; a run with them replaces that alone, and one without leaves it. */
const OBSERVED = { begin: "<!-- observed: written by npm run bench:proxy -- --observed -->", end: "<!-- observed ends -->" };

/** The same with access logs, as a section of its own. */
export function observedSection(results: Results, workloads: readonly Workload[], options: BenchOptions, load: number): string {
  const measured = workloads.filter(({ name }) => results.cells.has(name));
  const names = [...new Set(measured.flatMap(({ name }) => [...(results.cells.get(name)?.keys() ?? [])]))].filter((name) => name !== "direct");
  return [
    OBSERVED.begin,
    "",
    "## With access log and metrics",
    "",
    "Each writes a line of JSON, or of its own format (HAProxy), for each request, to `/dev/null`: nginx through a buffer of 64 KiB, HAProxy and Caddy by",
    "default, berth outside of its event loop. Caddy's metrics are on; the others count in any case. Microseconds per request or message; in brackets × nginx.",
    `Medians of ${options.passes} interleaved passes of ${options.seconds} s; load before the run ${load.toFixed(1)}. The libraries write no log.`,
    "",
    ...table(
      ["", ...measured.map(({ name }) => name)],
      names.map((name) => [name, ...measured.map((workload) => costCell(results, workload, name))]),
    ),
    ...[...results.left].map(([name, why]) => `- Left out: ${name}: ${why.split("\n")[0]}`),
    "",
    OBSERVED.end,
    "",
  ].join("\n");
}

/** `section` in the place of the one in `page`; the page's own where it is left out. */
export function withObserved(page: string, before: string, section: string | undefined): string {
  const pattern = new RegExp(`${OBSERVED.begin}[^]*${OBSERVED.end}\n`);
  const [kept = ""] = pattern.exec(before) ?? [];
  return `${page.replace(pattern, "").trimEnd()}\n\n${section ?? kept}`;
}

function costCell(results: Results, workload: Workload, name: string): string {
  const cell = results.cells.get(workload.name)?.get(name);
  if (cell === undefined) return "";
  if ("failed" in cell) return "failed";
  const nginx = results.cost(workload.name, "nginx");
  return `${costText(workload, cell.cpuUs)}${nginx === undefined ? "" : ` (${(cell.cpuUs / nginx).toFixed(2)})`}`;
}

function costText({ unit }: Workload, cpuUs: number): string {
  return unit === "GiB" ? (cpuUs / 1e6).toFixed(2) : cpuUs.toFixed(1);
}

function detail(results: Results, workload: Workload): string[] {
  const long = workload.unit === "GiB";
  const cells = [...(results.cells.get(workload.name) ?? [])];
  const lua = results.cost(workload.name, "nginx-lua");
  const ms = (us: number | undefined) => (us === undefined ? "" : (us / 1_000).toFixed(2));
  return [
    `### ${workload.name}: ${workload.says}`,
    "",
    ...table(
      ["", long ? "CPU s/GiB" : "CPU µs", "× nginx-lua", long ? "GiB/s" : "per s", "p50 ms", "p99 ms", "memory MB", "grown MB"],
      cells.map(([name, cell]) => {
        if ("failed" in cell) return [name, `failed: ${cell.failed.split("\n")[0]?.replaceAll("|", "/")}`, "", "", "", "", "", ""];
        const own = name === "direct" ? ["", ""] : [costText(workload, cell.cpuUs), lua === undefined ? "" : (cell.cpuUs / lua).toFixed(2)];
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
    "Each connection has had one response. A WebSocket also has its connection to the container. The process has worked for a second before and reuses",
    "the memory that this freed, so few connections show less than they cost, or nothing.",
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

function table(head: string[], rows: string[][]): string[] {
  return [head, head.map((_, column) => (column === 0 ? "---" : "---:")), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
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
  };
  const peers = (JSON.parse(readFileSync(join(PEERS, "package.json"), "utf8")) as { dependencies: Record<string, string> }).dependencies;
  return [
    `Node ${process.versions.node}`,
    ...Object.entries(programs).flatMap(([name, version]) => (version === undefined ? [] : [`${name} ${version}`])),
    ...Object.entries(peers).map(([name, version]) => `${name} ${version}`),
  ];
}
