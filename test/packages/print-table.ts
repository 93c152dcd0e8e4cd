/** What happened to one container of a package. */
export type TrialRow = {
  package: string;
  version: string;
  folder: string;
  keys: string;
  kind: string;
  /** Where the program listens, and what EXPOSE says if it is another port. */
  port: string;
  readiness: string;
  started: string;
  response: string;
  logs: string;
  stopped: string;
  lookUps: string;
  warnings: string;
  /** What the image has in the place of the original. */
  replaced: string;
  /** Why the row failed; empty if it passed. */
  failed: string;
};

const COLUMNS: readonly [title: string, cell: (row: TrialRow) => string][] = [
  ["package", (row) => `${row.package} ${row.version}`],
  ["folder", (row) => row.folder],
  ["container.json", (row) => row.keys],
  ["kind", (row) => row.kind],
  ["port", (row) => row.port],
  ["ready by", (row) => row.readiness],
  ["started", (row) => row.started],
  ["response", (row) => row.response],
  ["logs", (row) => row.logs],
  ["stopped", (row) => row.stopped],
  ["look-ups", (row) => row.lookUps],
  ["result", (row) => (row.failed === "" ? "ok" : `FAILED: ${row.failed}`)],
];

/** The rows as a Markdown table; below it what was replaced, and the warnings of the publish. */
export function printTable(rows: readonly TrialRow[]): string {
  const lines = [COLUMNS.map(([title]) => title), COLUMNS.map(() => "---"), ...rows.map((row) => COLUMNS.map(([, cell]) => escaped(cell(row))))];
  const table = lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
  const replaced = rows.map((row) => `- ${row.package} ${row.folder}: ${row.replaced}`);
  const warnings = [...new Set(rows.filter((row) => row.warnings !== "").map((row) => `- ${row.package}: ${row.warnings}`))];
  return [table, "", "Replaced:", ...replaced, "", "Warnings of the publish:", ...(warnings.length > 0 ? warnings : ["- none"])].join("\n");
}

function escaped(cell: string): string {
  return cell.replaceAll("|", "\\|").replaceAll("\n", " ");
}
