import { ENGINES, type ProbedEngine } from "./engines.ts";
import { PEER_ROWS, PEERS } from "./peers/by-hand.ts";
import { readMeasured } from "./peers/measured.ts";
import type { Row } from "./row.ts";
import { ROWS, THEMES, type Theme } from "./rows.ts";

/** The page docs/reference/correctness.md. */
export function correctnessPage(): string {
  return [intro(), ...THEMES.map(themed), measured(), peers()].join("\n");
}

function intro(): string {
  const counts = ENGINES.map(({ forwarder, cannot }) => `\`${forwarder}\` passes ${ROWS.length - Object.keys(cannot).length}`);
  return `# What the gateway does with odd HTTP

<!-- Written by \`npm run docs\` from test/correctness; a test notices when it differs. -->

${ROWS.length} questions, each asked with raw bytes over real sockets of a gateway in front of a container that keeps every byte: ${counts.join(", ")}.
\`BERTH_FORWARDER\` chooses the engine; the first is asked with both of its ways of reading, and over TLS too. \`npm test\` asks all of it, and
a "no" that has become a yes fails it as well as a yes that has become a no. \`npm run correctness\` prints what came out, in words and milliseconds.
`;
}

function themed({ title, rows }: Theme): string {
  const lines = rows.map((row) => line([row.asks, row.section, ...ENGINES.map((engine) => cell(engine, row))]));
  return `## ${title}\n\n${table(["asked", "see", ...ENGINES.map(({ forwarder }) => `\`${forwarder}\``)])}${lines.join("")}`;
}

function cell({ cannot }: ProbedEngine, { id }: Row): string {
  const reason = cannot[id];
  return reason === undefined ? "yes" : `no: ${reason}`;
}

/** Every row that others can be asked, asked of them. */
function measured(): string {
  const others = readMeasured();
  const [own] = ENGINES;
  const rows = ROWS.filter((row) => row.own !== true);
  const lines = rows.map((row) =>
    line([row.asks, ...[own?.cannot ?? {}, ...others.map(({ wrong }) => wrong)].map((wrong) => (row.id in wrong ? "no" : "yes"))]),
  );
  const counts = others.map(({ name, wrong }) => `${name} ${rows.length - Object.keys(wrong).length}`);
  return `## The same asked of others

By \`npm run correctness -- --peers\`, with the same bytes, of each as it would be set up in front of containers: nothing buffered, WebSockets allowed, the
client's address passed on. The questions are what berth promises; others promise other things, and a "no" is not always a fault: lower-case
names or a new framing are allowed. Of ${rows.length}: ${counts.join(", ")}. What came out instead stands in test/correctness/peers/measured.json.

${table(["asked", "berth", ...others.map(({ name, version }) => `${name} ${version}`)])}${lines.join("")}`;
}

function peers(): string {
  const lines = PEER_ROWS.map(({ id, asked, cells }) => line([asked, ownAnswer(id), ...cells]));
  return `## In their own words

Some of it in words, as it was found by hand before berth was written, on the versions named and with configurations as they come; bold is wrong or
dangerous. Of berth: whether its first engine above passes the row that asks this.

${table(["asked", "berth", ...PEERS])}${lines.join("")}`;
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
