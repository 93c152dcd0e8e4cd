import { expandRows, type MachineRow, type MachineTable } from "../gateway/exchange/state-machine.ts";
import { EXCHANGE_TABLE } from "../gateway/exchange/machine.ts";
import { CLIENT_TABLE } from "../gateway/exchange/client-machine.ts";

const INTRO = `# Exchanges as tables

<!-- Written by \`npm run docs\` from gateway/exchange/machine.ts and client-machine.ts; a test fails when it differs. -->

This page is for contributors. It shows the two state machines of the engine. An exchange is one request and its response
(\`gateway/exchange/exchange.ts\`). A client's connection has one exchange after another (\`gateway/exchange/client-connection.ts\`). Both classes turn what
happens into events, take the row of the table, and execute its actions. To change what the engine does in some situation, change a row, then run
\`node test/gateway/exchange/machine.test.ts\`: a model plays random event orders against the tables.

Actions run in the order of their list, whatever the row. An event without a row in some state cannot come there; the list of events has the reason.
`;

/** Left out of the pictures: nearly every state has these rows, and they lead to the end. */
const ENDINGS = ["failed", "totalTimedOut", "revoked", "clientGone", "closed", "draining"];

/** The page docs/contributing/exchange.md. */
export function machinesPage(): string {
  return [
    INTRO,
    sectionOf("The exchange", EXCHANGE_TABLE, [
      "The suffix `_OPEN`, and SENDING and UPLOADING, mean that a part of the request's body is still to come.",
      "In the picture `DECIDING` is also `DECIDING_OPEN`, and so on.",
    ]),
    sectionOf("The client's connection", CLIENT_TABLE, []),
  ].join("\n");
}

function sectionOf(title: string, table: MachineTable<string, string, string>, notes: readonly string[]): string {
  return `## ${title}

${[
  ...notes,
  `Not in the picture: ${ENDINGS.filter((event) => event in table.events)
    .map(code)
    .join(", ")}.`,
].join(" ")}

\`\`\`mermaid
${pictureOf(table)}
\`\`\`

| event | in | leads to | actions |
| --- | --- | --- | --- |
${table.rows.map((row) => rowOf(row, Object.keys(table.actions))).join("\n")}

${listOf("state", "meaning", Object.entries(table.states))}

${listOf(
  "event",
  "meaning; in other states",
  Object.entries(table.events).map(([name, { means, elsewhere }]) => [name, elsewhere === undefined ? means : `${means}; ${elsewhere}`]),
)}

${listOf("action", "what it does", Object.entries(table.actions))}
`;
}

/** Steps between two states as one arrow, with the events that take it. */
function pictureOf(table: MachineTable<string, string, string>): string {
  const arrows = new Map<string, Set<string>>();
  for (const { event, from, to } of expandRows(table)) {
    const arrow = `${shownAs(from)} --> ${shownAs(to)}`;
    if (ENDINGS.includes(event) || shownAs(from) === shownAs(to)) continue;
    arrows.set(arrow, (arrows.get(arrow) ?? new Set()).add(event));
  }
  return ["stateDiagram-v2", ...[...arrows].map(([arrow, events]) => `  ${arrow}: ${[...events].join("<br>")}`)].join("\n");
}

function shownAs(state: string): string {
  return state.replace(/_OPEN$/, "");
}

function rowOf([events, from, to, ...actions]: MachineRow<string, string, string>, order: readonly string[]): string {
  const ordered = actions.toSorted((one, other) => order.indexOf(one) - order.indexOf(other));
  return `| ${[namesOf(events), namesOf(from), to === "same" ? "" : code(to), ordered.map(code).join(", ")].join(" | ")} |`;
}

function namesOf(names: string | readonly string[]): string {
  return [names].flat().map(code).join(", ");
}

function listOf(name: string, meaning: string, rows: readonly (readonly [string, string])[]): string {
  return [`| ${name} | ${meaning} |`, "| --- | --- |", ...rows.map(([one, means]) => `| ${code(one)} | ${means} |`)].join("\n");
}

function code(text: string): string {
  return `\`${text}\``;
}
