import { ENGINES, type ProbedEngine } from "./engines.ts";
import { PEER_ROWS, PEERS } from "./peers.ts";
import type { Row } from "./row.ts";
import { ROWS, THEMES, type Theme } from "./rows.ts";

/** The page gateway/correctness.md. */
export function correctnessPage(): string {
  return [intro(), ...THEMES.map(themed), peers()].join("\n");
}

function intro(): string {
  const counts = ENGINES.map(({ forwarder, cannot }) => `\`${forwarder}\` passes ${ROWS.length - Object.keys(cannot).length}`);
  return `# What the gateway does with odd HTTP

<!-- Written by \`npm run docs\` from test/correctness; a test notices when it differs. -->

${ROWS.length} questions, each asked with raw bytes over real sockets of a gateway in front of a container that keeps every byte: ${counts.join(", ")}.
\`BERTH_FORWARDER\` chooses the engine. \`npm test -- test/correctness/rows.test.ts\` asks them all; a "no" that has become a yes fails as
well as a yes that has become a no. \`npm run correctness\` prints what came out, in words and milliseconds.
`;
}

function themed({ title, rows }: Theme): string {
  const lines = rows.map((row) => line([row.asks, row.section, ...ENGINES.map((engine) => cell(engine, row))]));
  return `## ${title}\n\n${table(["", "see", ...ENGINES.map(({ forwarder }) => `\`${forwarder}\``)])}${lines.join("")}`;
}

function cell({ cannot }: ProbedEngine, { id }: Row): string {
  const reason = cannot[id];
  return reason === undefined ? "yes" : `no: ${reason}`;
}

function peers(): string {
  const lines = PEER_ROWS.map(({ id, asked, cells }) => line([asked, ownAnswer(id), ...cells]));
  return `## The same asked of others

Measured on the versions named, with configurations as they come and one raw upstream behind each; bold is wrong or dangerous. Of berth: whether
its default engine passes the row above that asks this.

${table(["", "berth", ...PEERS])}${lines.join("")}`;
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
