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

type Column = readonly [title: string, cell: (row: TrialRow) => string];

const NAMES: readonly Column[] = [
  ["package", (row) => `${row.package} ${row.version}`],
  ["folder", (row) => row.folder],
];

const TRIAL: readonly Column[] = [
  ["kind", (row) => row.kind],
  ["port", (row) => row.port],
  ["ready by", (row) => row.readiness],
  ["started", (row) => row.started],
  ["response", (row) => row.response],
  ["logs", (row) => row.logs],
  ["stopped", (row) => row.stopped],
  ["result", (row) => (row.failed === "" ? "ok" : `FAILED: ${row.failed}`)],
];

const PACKAGE: readonly Column[] = [
  ["container.json", (row) => row.keys],
  ["replaced", (row) => row.replaced],
  ["look-ups", (row) => row.lookUps],
  ["warnings", (row) => row.warnings],
];

/** Two Markdown tables: what happened, and what the packages hold. */
export function printTable(rows: readonly TrialRow[]): string {
  return [TRIAL, PACKAGE].map((columns) => tableOf([...NAMES, ...columns], rows)).join("\n\n");
}

function tableOf(columns: readonly Column[], rows: readonly TrialRow[]): string {
  const cells = [columns.map(([title]) => title), columns.map(() => "---"), ...rows.map((row) => columns.map(([, cell]) => escaped(cell(row))))];
  return cells.map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function escaped(cell: string): string {
  return cell.replaceAll("|", "\\|").replaceAll("\n", " ");
}
