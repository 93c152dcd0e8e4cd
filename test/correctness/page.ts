import { ENGINES, type ProbedEngine } from "./engines.ts";
import { PEER_ROWS, PEERS } from "./peers/by-hand.ts";
import { readMeasured } from "./peers/measured.ts";
import type { CorrectnessRow } from "./row.ts";
import { ROWS, THEMES, type CorrectnessTheme } from "./rows.ts";

/** The page docs/reference/correctness.md. */
export function correctnessPage(): string {
  return [intro(), ...THEMES.map(themed), measured(), peers()].join("\n");
}

function intro(): string {
  const counts = ENGINES.map(({ forwarder, cannot }) => `\`${forwarder}\` passes ${ROWS.length - Object.keys(cannot).length}`);
  return `# What berth does with unusual HTTP

<!-- Written by \`npm run docs\` from test/correctness; a test fails when it differs. -->

This page is for client developers and reviewers. ${ROWS.length} rows, each sent as raw bytes over real sockets to a gateway in front of a container that
records every byte: ${counts.join(", ")}. \`BERTH_FORWARDER\` chooses the engine; the first runs with both of its ways of reading, and over TLS too.
\`npm test\` sends all rows, and fails when a result differs from this page, in either direction. \`npm run correctness\` prints the results with times.
`;
}

function themed({ title, rows }: CorrectnessTheme): string {
  const lines = rows.map((row) => line([row.asks, row.section, ...ENGINES.map((engine) => cell(engine, row))]));
  return `## ${title}\n\n${table(["case", "see", ...ENGINES.map(({ forwarder }) => `\`${forwarder}\``)])}${lines.join("")}`;
}

function cell({ cannot }: ProbedEngine, { id }: CorrectnessRow): string {
  const reason = cannot[id];
  return reason === undefined ? "yes" : `no: ${reason}`;
}

/** Every row that can be sent to other proxies. */
function measured(): string {
  const others = readMeasured();
  const [own] = ENGINES;
  const rows = ROWS.filter((row) => row.own !== true);
  const lines = rows.map((row) =>
    line([row.asks, ...[own?.cannot ?? {}, ...others.map(({ wrong }) => wrong)].map((wrong) => (row.id in wrong ? "no" : "yes"))]),
  );
  const counts = others.map(({ name, wrong }) => `${name} ${rows.length - Object.keys(wrong).length}`);
  return `## Other proxies

By \`npm run correctness -- --peers\`, with the same bytes. Each is configured as in front of containers: without buffering, with WebSockets, with the
client's address forwarded. The rows are berth's guarantees; other proxies guarantee other things, and a "no" is not always a defect: lower-case
names or a new framing are allowed. Of ${rows.length}: ${counts.join(", ")}. Their results are in test/correctness/peers/measured.json.

${table(["case", "berth", ...others.map(({ name, version }) => `${name} ${version}`)])}${lines.join("")}`;
}

function peers(): string {
  const lines = PEER_ROWS.map(({ id, property, cells }) => line([property, ownAnswer(id), ...cells]));
  return `## Results by hand

Some results in words, found by hand before berth was written, with the named versions and default configurations; bold is wrong or dangerous. For berth:
whether its first engine passes that row.

${table(["case", "berth", ...PEERS])}${lines.join("")}`;
}

function ownAnswer(id: string): string {
  const [first] = ENGINES;
  return first?.cannot[id] === undefined ? "right" : "no";
}

function table(heads: readonly string[]): string {
  return line(heads) + line(heads.map(() => "---"));
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |\n`;
}
